"""Tables and progress bars, on stderr, so that stdout stays for results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["console", "fields", "progress", "table", "working"]

console = Console(stderr=True, highlight=False)


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, float], None]]:
    """Show a bar on a terminal while the block runs; call what it gives with (done, total)."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    quiet = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task(what, total=None)

        def update(done: float, total: float) -> None:
            bar.update(task, completed=done, total=total)

        yield update


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that something goes on whose length is not known."""
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column is text, the others are figures."""
    out = Table(header_style="bold", show_header=any(header))
    for i, name in enumerate(header):
        out.add_column(name, justify="right" if i else "left", no_wrap=i == 0, overflow="fold")
    for row in rows:
        out.add_row(*(figure(cell) for cell in row))
    console.print(title, style="italic", markup=False)
    console.print(out, markup=False)


def fields(title: str, values: Mapping[str, object]) -> None:
    """Print names and values."""
    table(title, ("", ""), list(values.items()))


def figure(value: object) -> str:
    """A number as people read it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.3e}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
