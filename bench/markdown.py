"""Stored rows as tables in Markdown."""

from bench.stored import Row, foot, rows
from lightmamba.markdown import to_markdown

__all__ = ["NotRun", "foot", "load", "to_markdown"]


class NotRun(Exception):
    """A benchmark that has no rows yet."""


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
