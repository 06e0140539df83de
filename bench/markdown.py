"""Stored rows as tables in Markdown."""

from bench.stored import Row, foot, rows

__all__ = ["NotRun", "foot", "lines", "load"]


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


def lines(header: list[str], body: list[list[str]]) -> str:
    """A table in Markdown; the first column is text."""
    whole = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in whole) + "\n"
