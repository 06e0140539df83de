"""Tables of speculation, for :mod:`bench.tables`."""

from collections.abc import Callable
from typing import Any

from bench.engine_pairs import Spread, ratios
from bench.markdown import Table, load

__all__ = ["SPECULATION"]

Row = dict[str, Any]


def _text(found: Spread) -> str:
    return f"{found.median:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _where(row: Row) -> str:
    return f"{row['model']}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}"


def by_kind() -> Table:
    """Speedup from n-gram drafts, by model, writer and kind of text."""
    rows = [row for row in load("speculation") if row["writer"] != "prompt"]
    cells = [
        [
            _where(row), row["writer"], row["kind"],
            f"{row['tokens']:,}", f"{row['tokens'] / row['passes']:.2f}",
            f"{row['accepted'] / row['drafted']:.0%} of {row['drafted']:,}"
            if row["drafted"] else "0", _text(ratios(row["plain"], row["speculated"])),
        ]
        for row in rows
    ]  # fmt: skip
    header = ["n-grams (measured)", "writer", "text", "tokens", "tokens per pass",
              "accepted drafts", "× as fast, median [range]"]  # fmt: skip
    return Table(header, cells, rows)


def pieces() -> Table:
    """A prompt in one piece and token by token."""
    rows = [row for row in load("speculation") if row["writer"] == "prompt"]
    cells = [
        [
            _where(row),
            f"{row['tokens'] / sorted(row['plain'])[len(row['plain']) // 2]:,.0f}",
            f"{row['tokens'] / sorted(row['speculated'])[len(row['speculated']) // 2]:,.0f}",
            _text(ratios(row["plain"], row["speculated"])),
        ]
        for row in rows
    ]  # fmt: skip
    header = ["tokens per second (measured)", "token by token", "in one piece",
              "× as fast, median [range]"]  # fmt: skip
    return Table(header, cells, rows)


SPECULATION: dict[str, Callable[[], Table]] = {"speculation": by_kind, "pieces": pieces}
