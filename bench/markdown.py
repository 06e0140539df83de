"""Stored rows as tables in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.stored import Row, foot, rows
from lightmamba.common.markdown import to_markdown

__all__ = ["NotRun", "Table", "load"]


class NotRun(Exception):
    """A benchmark that has no rows yet."""


@dataclass(frozen=True)
class Table:
    """A table of a page, and the stored rows that it shows.

    Parameters
    ----------
    header, body
        Cells.
    rows
        Stored rows, of which the line below the table gives command, date, commit and computer.
    note : str
        A paragraph after that line.
    """

    header: Sequence[str]
    body: Sequence[Sequence[str]]
    rows: Iterable[Row] = ()
    note: str = ""

    def __str__(self) -> str:
        text = to_markdown(self.header, self.body) if self.body else ""
        shown = list(self.rows)
        return text + (foot(shown) if shown else "") + (f"\n{self.note}\n" if self.note else "")


def load(name: str) -> list[Row]:
    """Rows of a benchmark.

    Raises
    ------
    NotRun
        If there are none.
    """
    found = rows(name)
    if not found:
        raise NotRun(name)
    return found
