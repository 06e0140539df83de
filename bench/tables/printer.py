"""Tables in Markdown: of stored rows, by columns, or of what is computed for the page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.engine_pairs import Spread
from bench.stored import BENCHMARKS, Row, foot, rows
from lightmamba.common.errors import InputError
from lightmamba.common.markdown import to_markdown

__all__ = ["Cell", "Listed", "Table", "Tables", "load", "percent", "span"]

Cell = str | Callable[[Row], str]  # a format of a row's values, or a function of the row


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
    rows: Sequence[Row] = ()
    note: str = ""

    def __str__(self) -> str:
        text = to_markdown(self.header, self.body) if self.body else ""
        text += foot(self.rows) if self.rows else ""
        return text + (f"\n{self.note}\n" if self.note else "")


Tables = Mapping[str, Callable[[], Table]]


@dataclass(frozen=True)
class Listed:
    """A table with a line for each stored row; called, it reads them.

    Parameters
    ----------
    of : str
        Benchmark.
    columns : sequence of (str, Cell)
        Heading and cells. A heading is a format of the first row's values.
    where : callable
        Which rows are shown; by default all.
    order : callable, optional
        Key that the rows are sorted by.
    lines : callable
        Rows that a stored row is shown as; by default itself.
    """

    of: str
    columns: Sequence[tuple[str, Cell]]
    where: Callable[[Row], bool] = lambda row: True
    order: Callable[[Row], Any] | None = None
    lines: Callable[[Row], Iterable[Row]] = lambda row: (row,)

    def __call__(self) -> Table:
        found = [row for row in load(self.of) if self.where(row)]
        if not found:
            raise InputError(f"{self.of} has no rows of this table; run its benchmark")
        if self.order is not None:
            found.sort(key=self.order)
        header = [name.format_map(found[0]) for name, _ in self.columns]
        lines = [line for row in found for line in self.lines(row)]
        body = [[_text(cell, line) for _, cell in self.columns] for line in lines]
        return Table(header, body, found)


def _text(cell: Cell, row: Row) -> str:
    return cell.format_map(row) if isinstance(cell, str) else cell(row)


def load(name: str, **wanted: Any) -> list[Row]:
    """Rows of a benchmark that have these values.

    Raises
    ------
    InputError
        If there are none.
    """
    found = [row for row in rows(name) if wanted.items() <= row.items()]
    if not found:
        module = BENCHMARKS[name].module or name
        raise InputError(f"{name} has no rows with {wanted}; run: python -m bench.{module}")
    return found


def percent(name: str, form: str = ".1f") -> Callable[[Row], str]:
    """Cells of a share."""
    return lambda row: f"{100 * row[name]:{form}}"


def span(found: Spread, form: str = ".2f") -> str:
    """A median and its range."""
    return f"{found.median:{form}} [{found.low:{form}}, {found.high:{form}}]"
