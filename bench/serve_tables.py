"""Tables of the server under load, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.engine_pairs import Spread, ratios, spread
from bench.markdown import NotRun, Table, load

__all__ = ["SERVE"]

Row = dict[str, Any]


def _rows(kind: str) -> list[Row]:
    found = [row for row in load("serve") if row["kind"] == kind]
    if not found:
        raise NotRun(kind)
    return found


def _text(found: Spread, form: str) -> str:
    low, high = form.format(found.low), form.format(found.high)
    return f"{form.format(found.median)} [{low}, {high}]"


def under_load() -> Table:
    """One client and many."""
    rows = _rows("load")
    cells = [
        [
            f"{row['model']}, {row['threads']} threads, {'streamed' if row['stream'] else 'whole'}",
            _text(spread(row["alone"]), "{:,.0f}"), _text(spread(row["together"]), "{:,.0f}"),
            _text(ratios(row["together"], row["alone"]), "{:.2f}"),
            f"{row['equal']} of {row['clients']}",
        ]
        for row in rows
    ]  # fmt: skip
    header = ["engine, tokens per second (measured), median [range]", "one client",
              f"{rows[0]['clients']} clients, all together", "ratio per round",
              "answers equal to `generate`"]  # fmt: skip
    return Table(header, cells, rows)


def prefix() -> Table:
    """Time to the first token with and without the cache."""
    rows = _rows("prefix")
    cells = [
        [
            f"{row['model']}, {row['threads']} threads",
            _text(spread([1e3 * x for x in row["miss"]]), "{:,.1f}"),
            _text(spread([1e3 * x for x in row["hit"]]), "{:,.1f}"),
            _text(ratios(row["hit"], row["miss"]), "{:.3f}"),
        ]
        for row in rows
    ]  # fmt: skip
    header = [f"prompt of {rows[0]['tokens']:,} tokens (measured), median [range]",
              "first token of a new prompt, ms", "of a cached one, ms", "cached / new"]  # fmt: skip
    return Table(header, cells, rows)


SERVE: dict[str, Callable[[], Table]] = {"serve-load": under_load, "serve-prefix": prefix}
