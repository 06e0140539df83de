"""Tables of the system on a ULX3S, for :mod:`bench.tables`."""

from collections.abc import Callable

from bench.markdown import NotRun, Table, load
from bench.stored import Row
from lightmamba.arch.target import Target
from lightmamba.hardware.estimate import estimate
from lightmamba.model.config import SHAPES
from lightmamba.numerics.model_formats import Formats

__all__ = ["ULX3S"]

NAME = "ulx3s"  # of the target, and of the case of :mod:`bench.estimates`
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


def speed() -> Table:
    """Estimated speed and energy of the bundled model on the board's accelerator."""
    row = next((row for row in load("estimates") if row["case"] == NAME), None)
    if row is None:
        raise NotRun(NAME)
    target = Target.load(NAME)
    hertz, energy = target.clock_mhz * 1e6, estimate(SHAPES["demo"], Formats(), target).energy
    assert energy is not None
    rate = hertz / row["cycles"]
    low, likely, high = (joules * rate for joules in energy.joules)
    body = [
        ["tokens per second", f"{rate:.1f}", "simulated"],
        ["tokens per second of a prompt", f"{hertz / row['prompt_cycles']:.1f}", "simulated"],
        ["watts: low, likely, high", f"{low:.1f}, {likely:.1f}, {high:.1f}", "estimated"],
    ]
    header = [f"bundled model on `{NAME}` at {target.clock_mhz:g} MHz", "", "how obtained"]
    return Table(header, body, [row])


def placed() -> Table:
    """Place and route of the whole system, by seed."""
    rows = sorted(load("ulx3s_place"), key=lambda row: int(row["seed"]))
    body = [
        [
            str(row["seed"]),
            ", ".join(f"{of} {mhz:.1f} ({goal:g})" for of, (mhz, goal) in row["clocks"].items()),
            "yes" if row["met"] else "no",
            *(_used(*row["cells"][cell]) if cell in row["cells"] else "" for cell in CELLS),
            f"{row['bytes']:,}",
            f"{sum(row['seconds'].values()) / 60:.0f}",
        ]
        for row in rows
    ]  # fmt: skip
    header = ["seed (placed and routed)", "MHz by clock (needed)", "met", *CELLS.values(),
              "bytes of the bitstream", "minutes"]  # fmt: skip
    return Table(header, body, rows)


def _used(here: int, there: int) -> str:
    return f"{here:,} ({100 * here / there:.0f} %)"


def simulated() -> Table:
    """The whole system from its serial line to the SDRAM, against the engine."""
    known = {row["what"]: row for row in load("ulx3s_run")}
    found = [known[what] for what in RUNS if what in known]
    if not found:
        raise NotRun("ulx3s_run")
    body = [
        [RUNS[row["what"]], _outcome(row), "none" if not row["violations"] else row["violations"]]
        for row in found
    ]
    header = ["system of `ulx3s` (simulated)", "outcome", "violations of the SDRAM's timing"]
    return Table(header, body, found)


def _outcome(row: Row) -> str:
    """A sentence of what came out."""
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


ULX3S: dict[str, Callable[[], Table]] = {
    "ulx3s-speed": speed, "ulx3s-placed": placed, "ulx3s-simulated": simulated,
}  # fmt: skip
