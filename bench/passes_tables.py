"""Tables of passes of several tokens on hardware, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.markdown import Table, load

__all__ = ["PASSES"]

WHAT = {
    "prefill": "a chunk of a prompt",
    "batch": "a token of each sequence",
    "verify": "verify, 3 of 3 accepted",
    "repair": "1 token after a draft with 1 rejection",
    "again": "verify after a draft with 1 rejection",
    "decode": "one token alone",
    "chain": "one text, which the device decodes by itself",
}

LARGE, DRAFTS, MAIN = "mamba2-2.7b", "u280-t4", ("prefill", "batch")


def _shown() -> list[dict[str, Any]]:
    """Passes of the largest model: one for each target, and all that a draft needs on one."""
    return [
        row for row in load("passes")
        if (row["shape"] == LARGE and (row["target"] == DRAFTS or row["mode"] in MAIN))
        or row.get("context")
    ]  # fmt: skip


def _place(row: dict[str, Any]) -> str:
    """Shape, target, and positions before the pass, if it has any."""
    context = row.get("context")
    before = f", {context:,} positions" if context else ""
    return f"{row['shape']} on `{row['target']}`{before}"


def _rate(row: dict[str, Any]) -> str:
    """Tokens per second, with four digits at least."""
    rate = row["tokens_per_second"]
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


def modes() -> Table:
    """Passes of the largest model, and how much of their memory they use."""
    found = _shown()
    body = [
        [
            _place(row), WHAT[row["mode"]],
            str(row["tokens"]), f"{row['cycles']:,.0f}", f"**{_rate(row)}**",
            row["busiest_channel"], f"{100 * row['of_attainable']:.1f}",
            f"{100 * row['ssm_busy'] / row['cycles']:.0f}",
        ]
        for row in found
    ]  # fmt: skip
    header = ["W4A4, random weights", "pass", "tokens", "cycles (simulated)",
              "tokens per second (simulated)", "busiest channel", "% of attainable",
              "SSM busy, %"]  # fmt: skip
    return Table(header, body, found)


def editing() -> Table:
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
    return Table(header, body, found)


def estimates() -> Table:
    """Cycles in RTL simulation, and how far the estimate is from them."""
    found, body = load("passes_estimates"), []
    for r in found:
        kinds = [f"{k['cycles']:,.0f}, {100 * k['error']:+.2f} %" for k in r["modes"].values()]
        body.append([r["machine"], *kinds])
    header = ["cycles of a pass (simulated), error of the estimate", *found[0]["modes"]]
    return Table(header, body, found)


PASSES: dict[str, Callable[[], Table]] = {
    "passes-estimates": estimates,
    "passes": modes,
    "passes-editing": editing,
}
