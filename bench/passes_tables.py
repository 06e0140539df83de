"""Tables of passes of several tokens on hardware, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.markdown import foot, lines, load

__all__ = ["PASSES"]

WHAT = {
    "prefill": "a chunk of a prompt",
    "batch": "a token of each sequence",
    "verify": "guesses: three accepted, three checked",
    "repair": "one token behind three guesses, the last one wrong",
    "again": "guesses behind three of which the last was wrong",
    "decode": "one token alone",
}


def _found() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in load("passes")["results"]}


def modes() -> str:
    """Every pass that was simulated, and how much of its memory it used."""
    body = [
        [
            f"{row['shape']} on `{row['target']}`", f"{row['mode']}: {WHAT[row['mode']]}",
            str(row["tokens"]), f"{row['cycles']:,.0f}", f"**{row['tokens_per_second']:,.4g}**",
            row["busiest_channel"], f"{100 * row['of_attainable']:.1f}",
            f"{100 * row['ssm_busy'] / row['cycles']:.0f}",
        ]
        for row in _found().values()
    ]  # fmt: skip
    header = ["W4A4, random weights", "pass", "tokens", "cycles (simulated)",
              "tokens per second (simulated)", "busiest channel", "% of attainable",
              "SSM busy, %"]  # fmt: skip
    return lines(header, body) + foot(load("passes"))


def goals() -> str:
    """Goals and results, each with how it was obtained."""
    found, body = _found(), list[list[str]]()

    def row(what: str, before: str, goal: str, reached: str, origin: str) -> None:
        body.append([what, before, goal, reached, origin])

    for target, mode, before, goal in (
        ("u280-t4", "prefill", "324", "1,100"), ("u280-batch4", "batch", "303", "850"),
        ("vck190-paper-t4", "prefill", "8.4", "32"), ("kv260-t4", "prefill", "12.6", "46"),
    ):  # fmt: skip
        if r := found.get(f"mamba2-2.7b on {target}, {mode}"):
            row(f"`{target}`, {mode}, tokens/s", before, f"≥ {goal}",
                f"{r['tokens_per_second']:,.4g}", "simulated")  # fmt: skip
            row("its busiest channel, bound / measured", "", "≥ 0.95, or what binds",
                f"{r['of_attainable']:.3f}", "simulated")  # fmt: skip
    if r := found.get("mamba2-2.7b on u280-t4, verify"):
        row("`u280-t4`, a pass that checks three guesses, passes/s", "303", "≥ 0.97 × 303",
            f"{r['clock_mhz'] * 1e6 / r['cycles']:.1f}", "simulated")  # fmt: skip
    if r := found.get("mamba2-2.7b on u280-t4, prefill"):
        row("one 2.7B pass of four tokens on two cores, simulated and compared, s", "–", "≤ 300",
            f"{r['seconds_of_compared_pass']:.0f}", "measured")  # fmt: skip
        row("building its simulator, s", "–", "≤ 900", f"{r['simulator_seconds']:.0f}", "measured")
    header = ["figure, Mamba2-2.7B", "one token per pass", "goal", "here", "how obtained"]
    return lines(header, body)


def editing() -> str:
    """Single-stream speed by kind of text."""
    record, body = load("passes_editing"), []
    for r in record["results"]:
        passes = sum(r[kind] for kind in ("decode", "verify", "repair", "again"))
        right = f"{r['accepted'] / r['drafted']:.0%} of {r['drafted']:,}"
        origin = "estimated" if r.get("estimated") else "counted, simulated passes"
        body.append([r["kind"], f"{r['tokens']:,}", f"{r['tokens'] / passes:.2f}", right,
                     f"**{r['tokens_per_second']:,.0f}**", origin])  # fmt: skip
    header = ["one text, Mamba2-2.7B on `u280-t4`", "tokens", "tokens per pass", "right guesses",
              "tokens per second", "how obtained"]  # fmt: skip
    return lines(header, body) + foot(record)


PASSES: dict[str, Callable[[], str]] = {
    "passes": modes,
    "passes-goals": goals,
    "passes-editing": editing,
}
