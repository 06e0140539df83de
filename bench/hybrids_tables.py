"""Table of hybrids on the targets, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.hybrids import DECODE
from bench.markdown import Table, load
from bench.stored import rows
from lightmamba.model.config import HYBRIDS

__all__ = ["HYBRID"]

SHOWN = ("u280-hybrid", "kv260")  # targets


def hybrids() -> Table:
    """Speed at two contexts, simulated where that was run, and what binds."""
    simulated = {(r["shape"], r["target"], r.get("context")): r for r in rows("full")}
    found = {
        (r["shape"], r["target"], r["context"]): r
        for r in load("hybrids") if r["pass"] == "decode" and r["target"] in SHOWN
    }  # fmt: skip
    body, shown = [], []
    for shape in HYBRIDS:
        for target in SHOWN:
            cells = [shape, f"`{target}`"]
            for context in DECODE:
                row = found[shape, target, context]
                run = simulated.get((shape, target, context))
                shown.append(run or row)
                rate = (run or row).get("tokens_per_second")
                cells.append(f"{rate:,.4g} ({'simulated' if run else 'estimated'})" if rate
                             else "does not fit")  # fmt: skip
            body.append([*cells, _binds(found[shape, target, DECODE[0]])])
    header = ["W4A4, random weights; tokens/s", "target",
              *(f"after {context:,} tokens" for context in DECODE), "lanes wait for"]  # fmt: skip
    return Table(header, body, shown)


def _binds(row: dict[str, Any]) -> str:
    """Share of the cycles in which the lanes wait for activations, or for memory."""
    if "cycles" not in row:
        return ""
    shares = {what: row["stalls"][f"wait_{what}"] / row["cycles"]
              for what in ("activation", "memory", "epilogue")}  # fmt: skip
    most = max(shares, key=lambda what: shares[what])
    return f"{most}, {100 * shares[most]:.0f} %"


HYBRID: dict[str, Callable[[], Table]] = {"hybrids": hybrids}
