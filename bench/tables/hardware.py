"""Tables of the accelerator: simulated tokens and passes, comparisons, faults, the ULX3S."""

from functools import partial
from pathlib import Path

from bench.mutants import faults, listed, of_hardware, planted, read, survivals
from bench.stored import Row
from bench.tables.printer import Listed, Table, Tables, load, percent
from bench.tables.speed import PAPER, full_rows, on_board
from lightmamba.arch.target import Target
from lightmamba.hardware.estimate import estimate
from lightmamba.model.config import SHAPES
from lightmamba.model.data import BUNDLED, HYBRID, bundled_file
from lightmamba.model.qmodel import load as open_qmodel
from lightmamba.numerics.model_formats import Formats

__all__ = ["HARDWARE"]

SIX = (  # cases of bench.estimates
    "mamba2-2.7b on u280 (bench.full)",
    "mamba2-2.7b on vck190 (bench.full)",
    "mamba2-2.7b on kv260 (bench.full)",
    "granite-4.0-h-1b on u280, 1,024 positions (bench.full)",
    "ulx3s",
    "W8A8, slow lanes",
)
ORDERS = {  # cases of bench.estimates: the order of in_proj's rows, and beats per cycle
    "tiny": ("reordered", 0.95),
    "tiny, naive order": ("naive", 0.95),
    "tiny, slow lanes": ("reordered", 0.5),
    "tiny, slow lanes, naive order": ("naive", 0.5),
}
PASSES = {
    "prefill": "a chunk of a prompt",
    "batch": "a token of each sequence",
    "verify": "verify, 3 of 3 accepted",
    "repair": "1 token after a draft with 1 rejection",
    "again": "verify after a draft with 1 rejection",
    "decode": "one token alone",
    "chain": "one text, which the device decodes by itself",
}
LARGE, DRAFTS, MAIN = "mamba2-2.7b", "u280-t4", ("prefill", "batch")
PARTIES = {"avx512": "AVX-512", "avx2": "AVX2", "RTL": "RTL (simulated)"}
BOARD = "ulx3s"  # target, and case of bench.estimates
FIRST = 100  # tokens of a run on the board
CELLS = {  # of nextpnr's report
    "TRELLIS_COMB": "LUT4 and carry",
    "TRELLIS_FF": "flip-flops",
    "MULT18X18D": "multipliers",
    "DP16KD": "block RAM",
}
RUNS = {
    "greedy": "greedy tokens, in chains of 20",
    "sampled": "tokens whose logits the host reads at 3 Mbaud",
    "self-test": "self-test",
    "load": "weights over the serial line",
    "netlist": "netlist after synthesis and edits, as it is placed",
    "routed netlist": "netlist after place and route",
}


def waits() -> Table:
    """Cycles of a token by activity of the lanes."""
    found = {name: row for name, row in full_rows().items() if row["shape"] in SHAPES}
    names = list(next(iter(found.values()))["stalls"])
    body = [
        [name, *(f"{100 * r['stalls'][n] / sum(r['stalls'].values()):.1f}" for n in names)]
        for name, r in found.items()
    ]
    header = ["% of a token's cycles (simulated)", *(n.replace("_", " ") for n in names)]
    return Table(header, body, list(found.values()))


def pass_estimates() -> Table:
    """Cycles of passes in RTL simulation, and how far the estimate is from them."""
    found, body = load("passes_estimates"), []
    for r in found:
        kinds = [f"{k['cycles']:,.0f}, {100 * k['error']:+.2f} %" for k in r["modes"].values()]
        body.append([r["machine"], *kinds])
    header = ["cycles of a pass (simulated), error of the estimate", *found[0]["modes"]]
    return Table(header, body, found)


def estimates() -> Table:
    """Estimated against simulated cycles: six cases, the median and the worst of all."""
    found = sorted(load("estimates"), key=lambda r: abs(r["error"]))
    cases = {r["case"]: r for r in found}
    shown = {name.removesuffix(" (bench.full)"): cases[name] for name in SIX if name in cases}
    for what, r in (("median", found[len(found) // 2]), ("worst", found[-1])):
        shown[f"{r['case'].removesuffix(' (bench.full)')} ({what} of {len(found)})"] = r
    header = ["configuration and memory", "cycles (simulated)", "estimated", "error", "bottleneck"]
    body = [
        [name, f"{r['cycles']:,.0f}", f"{r['estimated']:,}", f"{r['error']:+.2%}", r["bound"]]
        for name, r in shown.items()
    ]
    return Table(header, body, found)


def orders() -> Table:
    """Cycles of a token by the order of in_proj's rows and the rate of the lanes' memories."""
    cases = {r["case"]: r for r in load("estimates")}
    found = {name: cases[name] for name in ORDERS if name in cases}
    body = [
        [f"{ORDERS[name][0]}, {ORDERS[name][1]} beats per cycle", f"{r['cycles']:,.0f}", r["bound"]]
        for name, r in found.items()
    ]
    header = ["the bundled model's shape on `tiny`", "cycles per token (simulated)", "bottleneck"]
    return Table(header, body, list(found.values()))


def cycles() -> Table:
    """Where the cycles of the simulated tokens went, in the longest run."""
    simulated = [row for row in load("digests") if row["rtl"] is not None]
    row = max(simulated, key=lambda row: int(row["tokens"]))
    counted, tokens = row["rtl"]["cycles"], row["tokens"]
    total = sum(counted.values())
    body = [
        [name.replace("_", " "), f"{n / tokens:,.0f}", f"{100 * n / total:.1f}"]
        for name, n in counted.items()
    ]
    body.append(["total", f"{total / tokens:,.0f}", "100"])
    header = [f"{row['model']}, cycles per token (simulated)", "mean", "%"]
    steady = [int(n) for n, count in row["rtl"]["cycles_per_token"].items() if count > 1]
    note = f"Tokens after the first take {min(steady):,} to {max(steady):,} cycles, by position."
    return Table(header, body, [row], note)


def mutants(hardware: bool) -> Table:
    """Faults caught: blocks that missed some or were not run, the others together, and all."""
    reasons, body, whole, others = survivals(), [], 0, list[Row]()
    blocks = [block for block in listed() if of_hardware(block) == hardware]
    found = [row for row in load("mutants") if row["block"] in blocks]
    for block in blocks:
        mine = [r for r in found if r["block"] == block]
        if not mine:
            body.append([block, str(len(read(block)["mutant"])), "not run yet", "", ""])
            continue
        left = [r for r in mine if not r["caught"]]
        old = "" if faults(block) <= planted(block, mine) else " (of an earlier source)"
        if not left and not old:
            whole, others = whole + 1, others + mine
            continue
        known = sum((block, r["why"]) in reasons for r in left)
        why = f"{known} of {len(left)} explained in `{block}.toml`" if left else ""
        body.append([block + old, *_caught(mine), why])
    if whole:
        body.append([f"{whole} other blocks", *_caught(others), ""])
    body.append(["total", *_caught(found), ""])
    return Table(["block", "planted", "caught", "by `make test`", "survived"], body, found)


def _caught(found: list[Row]) -> list[str]:
    """Faults planted, caught by the tests of their blocks, and by those that are not slow."""
    kept = sum(bool(row.get("kept", row["caught"])) for row in found)
    return [str(len(found)), str(sum(row["caught"] for row in found)), str(kept)]


def board_speed() -> Table:
    """Speed and estimated energy of the bundled models on the ULX3S."""
    target, cells, runs = Target.load(BOARD), dict[str, list[str]](), list[Row]()
    for model in (BUNDLED, HYBRID):
        runs.append(row := on_board(model))
        rate, prompt = row["tokens_per_second"], row["prompt_tokens_per_second"]
        config = open_qmodel(Path(bundled_file(model))).config
        context = FIRST if model == HYBRID else None
        energy = estimate(config, Formats(), target, context=context).energy
        assert energy is not None
        watts = ", ".join(f"{joules * rate:.1f}" for joules in energy.joules)
        cells[f"`{model}`"] = [f"{rate:.1f}", f"{prompt:.1f}", watts]
    names = ("tokens per second", "tokens per second of a prompt", "watts: low, likely, high")
    how = ("simulated", "simulated", "estimated")
    body = list(zip(names, *cells.values(), how, strict=True))
    header = [f"on `{BOARD}` at {target.clock_mhz:g} MHz", *cells, "how obtained"]
    return Table(header, body, runs)


def _rate(row: Row) -> str:
    """Tokens per second, with four digits at least."""
    rate = row["tokens_per_second"]
    return f"**{rate:,.0f}**" if rate >= 1000 else f"**{rate:.4g}**"


def _largest(row: Row) -> bool:
    """Passes of the largest model: one for each target, and all that a draft needs on one."""
    return row["shape"] == LARGE and (row["target"] == DRAFTS or row["mode"] in MAIN)


def _used(cell: str, row: Row) -> str:
    if cell not in row["cells"]:
        return ""
    here, there = row["cells"][cell]
    return f"{here:,} ({100 * here / there:.0f} %)"


def _clocks(row: Row) -> str:
    found = row["clocks"].items()
    return ", ".join(f"{of} {mhz:.1f} ({goal:g})" for of, (mhz, goal) in found)


def _system(row: Row) -> str:
    return f"`{row['model']}`"


def _outcome(row: Row) -> str:
    """Outcome of a run of the whole system, as a sentence."""
    what, equal = row["what"], "equal" if row.get("matches_engine") else "**different**"
    if what == "greedy":
        return f"{row['tokens_per_second']:.1f} tokens/s; {row['tokens']} tokens, {equal}"
    if what == "sampled":
        return (
            f"{row['tokens_per_second']:.1f} tokens/s without waits for USB; {row['tokens']} "
            f"tokens, every logit {equal}"
        )
    if what == "self-test":
        return ("passed: " if row["passed"] else "**failed** after: ") + ", ".join(row["steps"])
    if what == "load":
        share = 100 * row["share_of_the_line"]
        return (
            f"{row['bytes']:,} bytes, {len(row['wrong'])} regions wrong; {share:.1f} % of the "
            f"line, so {row['seconds_at_3_mbaud']:.1f} s at 3 Mbaud, "
            f"{row['seconds_at_1_mbaud']:.1f} s at 1 Mbaud"
        )
    return f"{row['tokens']} tokens, {row['logits']:,} logits, {equal}"


HARDWARE: Tables = {
    "full": Listed(
        "full",
        [
            ("tokens per second, W4A4, random weights", "{name}"),
            (
                "paper (u280 simulated, vck190 measured)",
                lambda r: f"{PAPER[r['name']]:g}" if r["name"] in PAPER else "",
            ),
            ("here (simulated)", "**{tokens_per_second:,.4g}**"),
            ("cycles per token (simulated)", "{cycles_per_token:,.0f}"),
            ("busiest channel", "{busiest_channel}"),
            ("% of attainable", percent("of_attainable")),
            ("% of nominal", percent("of_nominal")),
        ],
        where=lambda r: r["shape"] in SHAPES,
    ),
    "full-waits": waits,
    "passes": Listed(
        "passes",
        [
            ("W4A4, random weights", "{shape} on `{target}`"),
            ("pass", lambda r: PASSES[r["mode"]]),
            ("tokens", "{tokens}"),
            ("cycles (simulated)", "{cycles:,.0f}"),
            ("tokens per second (simulated)", _rate),
            ("busiest channel", "{busiest_channel}"),
            ("% of attainable", percent("of_attainable")),
            ("SSM busy, %", lambda r: f"{100 * r['ssm_busy'] / r['cycles']:.0f}"),
        ],
        where=_largest,
    ),
    "passes-estimates": pass_estimates,
    "estimates": estimates,
    "orders": orders,
    "shapes": Listed(
        "shapes",
        [
            ("shape and configuration (simulated, random stalls)", "{case}"),
            ("tokens", "{tokens}"),
            ("cycles", "{cycles:,}"),
            ("difference", lambda r: r["difference"] or "none"),
        ],
    ),
    "digests": Listed(
        "digests",
        [
            ("model", "{model}"),
            ("compared", lambda r: ", ".join(PARTIES.get(name, name) for name in r["parties"])),
            ("tokens", "{tokens:,}"),
            ("tensors", "{compared:,}"),
            ("difference", lambda r: r["difference"] or "none"),
            ("digest of all", "`{digest:.16}`"),
        ],
    ),
    "cycles": cycles,
    "mutants": partial(mutants, hardware=True),
    "mutants-software": partial(mutants, hardware=False),
    "proofs": Listed(
        "proofs",
        [
            ("unit (proved)", "{unit}"),
            ("properties", "{properties}"),
            ("by induction", "{inductive}"),
            (
                "up to a depth only",
                lambda r: (
                    "; ".join(f"{name} ({depth} cycles)" for name, depth in r["bounded"].items())
                    or "none"
                ),
            ),
            ("states reached", "{reached}"),
            ("seconds", "{seconds:.0f}"),
        ],
    ),
    "ulx3s-speed": board_speed,
    "ulx3s-placed": Listed(
        "ulx3s_place",
        [
            ("model (placed and routed)", _system),
            ("seed", "{seed}"),
            ("MHz by clock (needed)", _clocks),
            ("met", lambda r: "yes" if r["met"] else "no"),
            *((name, partial(_used, cell)) for cell, name in CELLS.items()),
            ("bytes of the bitstream", "{bytes:,}"),
            ("minutes", lambda r: f"{sum(r['seconds'].values()) / 60:.0f}"),
        ],
        order=lambda r: (r["model"], int(r["seed"])),
    ),
    "ulx3s-simulated": Listed(
        "ulx3s_run",
        [
            ("model on `ulx3s` (simulated)", _system),
            ("run", lambda r: RUNS[r["what"]]),
            ("outcome", _outcome),
            (
                "violations of the SDRAM's timing",
                lambda r: str(r["violations"]) if r["violations"] else "none",
            ),
        ],
        where=lambda r: r["what"] in RUNS,
        order=lambda r: (r["model"], list(RUNS).index(r["what"])),
    ),
}
