"""Tables of complete simulated tokens at full size, and of the goals, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.digests_tables import longest
from bench.markdown import foot, load, to_markdown
from bench.stored import rows
from lightmamba.config import HYBRIDS

__all__ = ["FULL"]

# Decoding of Mamba2-2.7B in the paper, tokens per second (arXiv 2502.15260).
PAPER = {"mamba2-2.7b on u280": 93.0, "mamba2-2.7b on vck190-paper": 7.21}
U280 = "u280, mamba2-2.7b"


def rows_by_name() -> dict[str, dict[str, Any]]:
    """Rows of :mod:`bench.full` by name."""
    return {row["name"]: row for row in load("full")}


def _hybrid(row: dict[str, Any]) -> bool:
    return row["shape"] in HYBRIDS


def full() -> str:
    """Speed of every row of a Mamba2 model, and how much of its memory it uses."""
    body = [
        [
            name, f"{PAPER[name]:g}" if name in PAPER else "", f"**{r['tokens_per_second']:,.4g}**",
            f"{r['cycles_per_token']:,.0f}", r["busiest_channel"],
            f"{100 * r['of_attainable']:.1f}", f"{100 * r['of_nominal']:.1f}",
        ]
        for name, r in rows_by_name().items() if not _hybrid(r)
    ]  # fmt: skip
    header = ["tokens per second, W4A4, random weights",
              "paper (u280 simulated, vck190 measured)", "here (simulated)",
              "cycles per token (simulated)", "busiest channel", "% of attainable",
              "% of nominal"]  # fmt: skip
    return to_markdown(header, body) + foot(load("full"))


def waits() -> str:
    """Cycles of a token by activity of the lanes."""
    found = {name: row for name, row in rows_by_name().items() if not _hybrid(row)}
    names = list(next(iter(found.values()))["stalls"])
    body = [
        [name, *(f"{100 * r['stalls'][n] / sum(r['stalls'].values()):.1f}" for n in names)]
        for name, r in found.items()
    ]
    header = ["% of a token's cycles (simulated)", *(n.replace("_", " ") for n in names)]
    return to_markdown(header, body)


def goals() -> str:
    """Goals and results, each with how it was obtained."""
    found = {name: row for name, row in rows_by_name().items() if not _hybrid(row)}
    body: list[list[str]] = []

    def row(what: str, paper: str, goal: str, reached: str, origin: str) -> None:
        body.append([what, paper, goal, reached, origin])

    for name, goal in (("u280", 300), ("vck190-paper", 8.0), ("vck190", 28.8)):
        if r := found.get(f"mamba2-2.7b on {name}"):
            paper = PAPER.get(r["name"])
            row(f"2.7B on `{name}`, tokens/s", f"{paper:g}" if paper else "–", f"≥ {goal:g}",
                f"{r['tokens_per_second']:.2f}", "simulated")  # fmt: skip
            row("its busiest channel, bound / measured", "", "≥ 0.97" if paper else "",
                f"{r['of_attainable']:.3f}", "simulated")  # fmt: skip
    if r := found.get("mamba2-2.7b on vck190"):
        row("all memory of the `vck190`, share of nominal", "–", "≥ 75 %",
            f"{100 * r['of_all_nominal']:.1f} %", "simulated")  # fmt: skip
    if r := found.get("mamba2-2.7b on u280"):
        row("one 2.7B token on two cores, simulated and compared, s", "–", "≤ 300",
            f"{r['seconds_per_compared_token']:.0f}", "measured")  # fmt: skip
        row("building its simulator, s", "–", "≤ 600", f"{r['simulator_seconds']:.0f}", "measured")
    if small := [r for r in found.values() if r["shape"] != "mamba2-2.7b"]:
        over = sorted(1 / r["of_attainable"] for r in small)
        row("smaller shapes on `u280`, cycles / bound of the busiest channel", "–", "≤ 1.03",
            f"{over[0]:.2f} to {over[-1]:.2f}", "simulated")  # fmt: skip
    if exists("digests"):
        r = longest()
        later = [int(n) for n, count in r["rtl"]["cycles_per_token"].items() if count > 1]
        spread = max(later) / min(later) - 1
        row(f"cycles of tokens 1 to {r['tokens'] - 1:,}, {r['model']}, spread", "–",
            "≤ 0.1 %", f"{100 * spread:.2f} %", "simulated")  # fmt: skip
    if exists("synth"):
        m = next(r for r in load("synth") if r["machine"] == U280)
        for cell, paper, name in (("lut", 297_000, "LUT"), ("dsp", 1164, "DSP"),
                                  ("bram", 912, "BRAM of 18 kbit")):  # fmt: skip
            row(f"`u280`, W4A4, {name}", f"{paper:,}", f"≤ {paper:,}", f"{m[cell]:,}",
                "synthesized (yosys)")  # fmt: skip
        row("longest path, yosys `sta`, ns", "–", "≤ 3.0", f"{m['path_ns']:.2f}", "synthesized")
        most = [max(b[what] for b in m["blocks"].values()) for what in ("lut_levels", "carry4")]
        row("a block's longest path: most LUTs, most CARRY4", "–", "≤ 4, ≤ 8",
            f"{most[0]}, {most[1]}", "synthesized")  # fmt: skip
    if exists("estimates"):
        worst = max(abs(r["error"]) for r in load("estimates"))
        count = len(load("estimates"))
        row(f"performance model against RTL simulation, worst of {count}", "–", "≤ 1 %",
            f"{100 * worst:.2f} %", "simulated")  # fmt: skip
    return to_markdown(["figure", "paper", "goal", "reached", "how obtained"], body)


def exists(name: str) -> bool:
    """Whether a results file is there."""
    return bool(rows(name))


FULL: dict[str, Callable[[], str]] = {"full": full, "full-waits": waits, "goals": goals}
