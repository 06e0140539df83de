"""Tables of complete simulated tokens at full size, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.markdown import Table, load
from lightmamba.model.config import HYBRIDS

__all__ = ["FULL"]

# Decoding of Mamba2-2.7B in the paper, tokens per second (arXiv 2502.15260).
PAPER = {"mamba2-2.7b on u280": 93.0, "mamba2-2.7b on vck190-paper": 7.21}


def rows_by_name() -> dict[str, dict[str, Any]]:
    """Rows of :mod:`bench.full` by name."""
    return {row["name"]: row for row in load("full")}


def _hybrid(row: dict[str, Any]) -> bool:
    return row["shape"] in HYBRIDS


def full() -> Table:
    """Speed of every row of a Mamba2 model, and how much of its memory it uses."""
    found = {name: row for name, row in rows_by_name().items() if not _hybrid(row)}
    body = [
        [
            name, f"{PAPER[name]:g}" if name in PAPER else "", f"**{r['tokens_per_second']:,.4g}**",
            f"{r['cycles_per_token']:,.0f}", r["busiest_channel"],
            f"{100 * r['of_attainable']:.1f}", f"{100 * r['of_nominal']:.1f}",
        ]
        for name, r in found.items()
    ]  # fmt: skip
    header = ["tokens per second, W4A4, random weights",
              "paper (u280 simulated, vck190 measured)", "here (simulated)",
              "cycles per token (simulated)", "busiest channel", "% of attainable",
              "% of nominal"]  # fmt: skip
    return Table(header, body, found.values())


def waits() -> Table:
    """Cycles of a token by activity of the lanes."""
    found = {name: row for name, row in rows_by_name().items() if not _hybrid(row)}
    names = list(next(iter(found.values()))["stalls"])
    body = [
        [name, *(f"{100 * r['stalls'][n] / sum(r['stalls'].values()):.1f}" for n in names)]
        for name, r in found.items()
    ]
    header = ["% of a token's cycles (simulated)", *(n.replace("_", " ") for n in names)]
    return Table(header, body, found.values())


FULL: dict[str, Callable[[], Table]] = {"full": full, "full-waits": waits}
