"""Tables of long runs on kernels, numpy and RTL, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.markdown import NotRun, Table, load

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


def digests() -> Table:
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
    return Table(header, rows, found)


def cycles() -> Table:
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
    steady = [int(n) for n, count in row["rtl"]["cycles_per_token"].items() if count > 1]
    note = f"Tokens after the first take {min(steady):,} to {max(steady):,} cycles, by position."
    return Table(header, rows, [row], note)


DIGESTS: dict[str, Callable[[], Table]] = {
    "digests": digests,
    "cycles": cycles,
}
