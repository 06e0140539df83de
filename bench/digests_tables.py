"""Tables of long runs on kernels, numpy and RTL, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.markdown import NotRun, foot, load, to_markdown

__all__ = ["DIGESTS", "longest"]

PARTIES = {"avx512": "AVX-512", "avx2": "AVX2", "RTL": "RTL (simulated)"}


def longest() -> dict[str, Any]:
    """The run of the most tokens on simulated RTL.

    Raises
    ------
    NotRun
        If there is none.
    """
    rows = [row for row in load("digests") if row["rtl"] is not None]
    if not rows:
        raise NotRun("digests")
    return max(rows, key=lambda row: int(row["tokens"]))


def digests() -> str:
    """How many tokens gave equal digests, and who was compared."""
    found = load("digests")
    rows = [
        [
            row["model"], ", ".join(PARTIES.get(name, name) for name in row["parties"]),
            f"{row['tokens']:,}", f"{row['compared']:,}",
            row["difference"] or "none", f"`{row['digest'][:16]}`",
        ]
        for row in found
    ]  # fmt: skip
    header = ["model", "compared", "tokens", "tensors", "difference", "digest of all"]
    return to_markdown(header, rows) + foot(found)


def cycles() -> str:
    """Where the cycles of the simulated tokens went."""
    row = longest()
    counted, tokens = row["rtl"]["cycles"], row["tokens"]
    total = sum(counted.values())
    rows = [
        [name.replace("_", " "), f"{n / tokens:,.0f}", f"{100 * n / total:.1f}"]
        for name, n in counted.items()
    ]
    rows.append(["total", f"{total / tokens:,.0f}", "100"])
    header = [f"{row['model']}, cycles per token (simulated)", "mean", "%"]
    return to_markdown(header, rows) + foot([row])


def by_position() -> str:
    """Cycles of the tokens by their position in the sequence."""
    row = longest()
    rows = [[f"{int(n):,}", f"{count:,}"] for n, count in row["rtl"]["cycles_per_token"].items()]
    header = [f"{row['model']}, cycles of a token (simulated)", "tokens"]
    return to_markdown(header, rows) + foot([row])


DIGESTS: dict[str, Callable[[], str]] = {
    "digests": digests,
    "cycles": cycles,
    "cycles-by-position": by_position,
}
