"""Tables of passes of several tokens on hardware, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.engine_pairs import ratios
from bench.markdown import foot, load, to_markdown
from lightmamba.arch.target import Target
from lightmamba.compiler import plan
from lightmamba.config import PUBLISHED, SHAPES
from lightmamba.estimate import Estimate
from lightmamba.estimate.model import estimate_pass
from lightmamba.estimate.resources import resources
from lightmamba.estimate.workload import Workload
from lightmamba.formats import Formats

__all__ = ["PASSES"]

WHAT = {
    "prefill": "a chunk of a prompt",
    "batch": "a token of each sequence",
    "verify": "drafts: three accepted, three verified",
    "repair": "one token after three drafts, the last one wrong",
    "again": "drafts after three, the last one wrong",
    "decode": "one token alone",
    "chain": "one text, which the device decodes by itself",
}

# Kinds that `estimate` knows, by what they are called here: its decoding is a chain.
ESTIMATED = {"prefill": "prefill", "batch": "batch", "verify": "verify", "chain": "decode"}


def _found() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in load("passes")}


def _place(row: dict[str, Any]) -> str:
    """Shape, target, and positions before the pass, if it has any."""
    context = row.get("context")
    before = f", {context:,} positions" if context else ""
    return f"{row['shape']} on `{row['target']}`{before}"


def _rate(row: dict[str, Any]) -> str:
    """Tokens per second, with four digits at least."""
    rate = row["tokens_per_second"]
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


def modes() -> str:
    """Every pass that was simulated, and how much of its memory it used."""
    body = [
        [
            _place(row), f"{row['mode']}: {WHAT[row['mode']]}",
            str(row["tokens"]), f"{row['cycles']:,.0f}", f"**{_rate(row)}**",
            row["busiest_channel"], f"{100 * row['of_attainable']:.1f}",
            f"{100 * row['ssm_busy'] / row['cycles']:.0f}",
        ]
        for row in _found().values()
    ]  # fmt: skip
    header = ["W4A4, random weights", "pass", "tokens", "cycles (simulated)",
              "tokens per second (simulated)", "busiest channel", "% of attainable",
              "SSM busy, %"]  # fmt: skip
    return to_markdown(header, body) + foot(load("passes"))


GOALS = (  # target, mode, tokens per second of one token per pass, goal
    ("u280-t4", "prefill", "324", "1,100"), ("u280-batch4", "batch", "303", "850"),
    ("vck190-paper-t4", "prefill", "8.4", "32"), ("kv260-t4", "prefill", "12.6", "46"),
)  # fmt: skip
LARGE = "u280-t4, mamba2-2.7b"  # as bench.synth calls it
AddRow = Callable[[str, str, str, str, str], None]


def goals() -> str:
    """Goals and results, each with how it was obtained."""
    found, body = _found(), list[list[str]]()

    def row(what: str, before: str, goal: str, reached: str, origin: str) -> None:
        body.append([what, before, goal, reached, origin])

    for target, mode, before, goal in GOALS:
        if r := found.get(f"mamba2-2.7b on {target}, {mode}"):
            reached, origin = _rate(r), "simulated"
        else:
            reached = f"{_estimated(target, mode).tokens_per_second:,.3g}"
            origin = "estimated"
        row(f"`{target}`, {mode}, tokens/s", before, f"≥ {goal}", reached, origin)
        if r:
            row("its busiest channel, bound / measured", "", "≥ 0.95, or what binds",
                f"{r['of_attainable']:.3f}", "simulated")  # fmt: skip
    if r := found.get("mamba2-2.7b on u280-t4, verify"):
        row("`u280-t4`, a pass that verifies three drafts, passes/s", "303", "≥ 0.97 × 303 = 294",
            f"{r['clock_mhz'] * 1e6 / r['cycles']:.1f}", "simulated")  # fmt: skip
    texts = load("passes_editing")
    written = [r for r in texts if r["kind"] in ("copy", "list", "quotation")]
    seconds = sum(r["tokens"] / r["tokens_per_second"] for r in written)
    reached = sum(r["tokens"] for r in written) / seconds
    row("`u280-t4`, the editing set with n-grams, tokens/s", "303", "≥ 450", f"{reached:,.0f}",
        "counted, simulated passes")  # fmt: skip
    for r in texts:
        if r.get("published"):
            row(f"`u280-t4`, {r['kind']}, tokens/s", "303", "≥ 450",
                f"{r['tokens_per_second']:,.0f}", "estimated, not built")  # fmt: skip
    _cells(row)
    if r := found.get("mamba2-2.7b on u280-t4, prefill"):
        row("one 2.7B pass of four tokens on two cores, simulated and compared, s", "–", "≤ 300",
            f"{r['seconds_of_compared_pass']:.0f}", "measured")  # fmt: skip
    built = [r["simulator_seconds"] for name, r in found.items()
             if name.startswith("mamba2") and "u280-t4" in name]  # fmt: skip
    if built:
        row("building its simulator, s", "–", "≤ 900", f"{max(built):.0f}", "measured")
    errors = [kind["error"] for r in load("passes_estimates")
              for kind in r["modes"].values()]  # fmt: skip
    errors += [
        _estimated(r["target"], ESTIMATED[r["mode"]], r["shape"], r.get("context") or None).cycles
        / r["cycles"] - 1
        for r in found.values() if r["mode"] in ESTIMATED
    ]  # fmt: skip
    row(f"estimate against simulation, the worst of {len(errors)} cases, %", "–", "≤ 1",
        f"{100 * max(map(abs, errors)):.2f}", "simulated")  # fmt: skip
    _engine(row)
    header = ["figure, Mamba2-2.7B", "one token per pass", "goal", "here", "how obtained"]
    return to_markdown(header, body)


def _estimated(
    target: str, mode: str, shape: str = "mamba2-2.7b", context: int | None = None
) -> Estimate:
    config = PUBLISHED[shape]
    work = Workload.of(config, Formats(), Target.load(target), "reordered", context=context)
    return estimate_pass(work.of_mode(mode), area={})


def _cells(row: AddRow) -> None:
    """LUTs and longest path of u280-t4."""
    device = Target.load("u280-t4").resources
    known = {row["machine"]: row for row in load("synth")}
    assert device is not None
    one = f"{100 * known['u280, mamba2-2.7b']['lut'] / device.lut:.1f}"
    if r := known.get(LARGE):
        row("`u280-t4`, LUT of the device, %", one, "≤ 65", f"{100 * r['lut'] / device.lut:.1f}",
            "synthesized")  # fmt: skip
        row("its longest path, ns", f"{known['u280, mamba2-2.7b']['path_ns']:.2f}", "≤ 3.0",
            f"{r['path_ns']:.2f}", "synthesized")  # fmt: skip
        return
    cells = resources(plan(SHAPES["mamba2-2.7b"], Formats(), Target.load("u280-t4")))
    lut = sum(amount.lut for amount in cells.values())
    row("`u280-t4`, LUT of the device, %", one, "≤ 65", f"{100 * lut / device.lut:.1f}",
        "estimated")  # fmt: skip


def _engine(row: AddRow) -> None:
    """Rows of the same passes on a CPU, measured by :mod:`bench.speculation`."""
    rows = load("speculation")
    for r in rows:
        if r["writer"] == "prompt" and r["model"] == "mamba2-130m":
            row("engine, 130m, prompt of 512, × token by token", "1", "≥ 3",
                f"{ratios(r['plain'], r['speculated']).median:.2f}", "measured")  # fmt: skip
        elif r["model"] == "mamba2-130m" and r["kind"] in ("copy", "quotation", "open"):
            goal = "≥ 0.97" if r["kind"] == "open" else "≥ 1.5"
            row(f"engine, 130m, {r['kind']} with n-grams, × without", "1", goal,
                f"{ratios(r['plain'], r['speculated']).median:.2f}", "measured")  # fmt: skip


def editing() -> str:
    """Single-stream speed by kind of text."""
    found, body = load("passes_editing"), []
    for r in found:
        passes = sum(r[kind] for kind in ("decode", "verify", "repair", "again"))
        right = f"{r['accepted'] / r['drafted']:.0%} of {r['drafted']:,}"
        origin = "estimated" if r["made"]["how"] == "estimated" else "counted, simulated passes"
        body.append([r["kind"], f"{r['tokens']:,}", f"{r['tokens'] / passes:.2f}", right,
                     f"**{r['tokens_per_second']:,.0f}**", origin])  # fmt: skip
    header = ["one text, Mamba2-2.7B on `u280-t4`", "tokens", "tokens per pass", "accepted drafts",
              "tokens per second", "how obtained"]  # fmt: skip
    return to_markdown(header, body) + foot(found)


def estimates() -> str:
    """Cycles in RTL simulation, and how far the estimate is from them."""
    found, body = load("passes_estimates"), []
    for r in found:
        kinds = [f"{k['cycles']:,.0f}, {100 * k['error']:+.2f} %" for k in r["modes"].values()]
        body.append([r["machine"], *kinds])
    header = ["cycles of a pass (simulated), error of the estimate", *found[0]["modes"]]
    return to_markdown(header, body) + foot(found)


PASSES: dict[str, Callable[[], str]] = {
    "passes-estimates": estimates,
    "passes": modes,
    "passes-goals": goals,
    "passes-editing": editing,
}
