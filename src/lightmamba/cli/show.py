"""Output for people: results on stdout; notes, progress and the log on stderr.

Tables fit into 80 columns, also where the terminal is wider or stdout is no terminal. Neither
colours nor control characters go into a pipe or a file.
"""

import logging
import platform
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from threading import Timer
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = [
    "access_log",
    "detail",
    "fields",
    "figure",
    "note",
    "progress",
    "say",
    "shares",
    "span",
    "speed",
    "table",
    "verbosity",
    "working",
]

WIDTH = 80  # columns of the widest table
EDGES = 3  # columns that a table's column needs besides its content: a rule and two spaces
PATIENCE, EVERY = 10.0, 30.0  # seconds before a log gets a line, and from one to the next
NAMES = 12  # columns that a long word gets at least
FIGURE = re.compile(r"[-+]?[\d.,]{1,24}(e[-+]?\d+)?( ± [\d.e-]+)?( ?%)?")
log = logging.getLogger(__name__)


class _Console(Console):
    """A console that leaves it to the program what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def fitted(self) -> "_Console":
        """As wide as its terminal, but 80 columns at most."""
        wide = shutil.get_terminal_size((WIDTH, 25)).columns if self.is_terminal else WIDTH
        self.width = min(WIDTH, wide)
        return self


_results, _notes = _Console(highlight=False), _Console(stderr=True, highlight=False)


class _Log(logging.Handler):
    """Prints each record with the seconds since the program began."""

    def emit(self, record: logging.LogRecord) -> None:
        note(f"{record.relativeCreated / 1000:8.2f} s  {record.getMessage()}")


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    note(f"warning: {' '.join(str(message).split())}")


@contextmanager
def verbosity(*, quiet: bool, verbose: bool, json: bool = False) -> Iterator[None]:
    """While the block runs, leave out notes and progress, or print the program's log too.

    Warnings become notes of one line. With ``json`` a program reads the result, so that tables,
    :func:`say` and :func:`detail` print nothing.
    """
    handler, ours = _Log(), logging.getLogger("lightmamba")
    level = ours.level
    _notes.quiet, _results.quiet = quiet, json
    if verbose:
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
    try:
        log.info(
            "lightmamba %s in %s, Python %s", metadata.version("lightmamba"),
            Path(__file__).parents[1], platform.python_version(),
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            yield
    finally:
        _notes.quiet = _results.quiet = False
        ours.removeHandler(handler)
        ours.setLevel(level)


class _Access(logging.Handler):
    """Prints each request with the time of day."""

    def emit(self, record: logging.LogRecord) -> None:
        note(f"{time.strftime('%H:%M:%S')} {record.getMessage()}")


@contextmanager
def access_log() -> Iterator[None]:
    """Print the requests of a server while the block runs."""
    ours, handler = logging.getLogger("lightmamba.access"), _Access()
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.propagate = True


def note(text: str) -> None:
    """Print a sentence on stderr, next to the result; only a terminal breaks its lines."""
    _notes.print(text, markup=False, soft_wrap=True)


def detail(text: str) -> None:
    """Print a note that is also in the result as JSON."""
    if not _results.quiet:
        note(text)


def say(text: object = "", end: str = "\n") -> None:
    """Print a part of the result on stdout at once."""
    if not _results.quiet:
        print(text, end=end, flush=True)


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, float], None]]:
    """Show a bar, or lines in a log, while the block runs; call the result with (done, total)."""
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    if not _moving():
        with _timed(what):
            yield _Lines(what)
        return
    with _timed(what), Progress(*columns, console=_notes.fitted(), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def update(done: float, total: float) -> None:
            bar.update(task, completed=done, total=total)

        yield update


class _Lines:
    """Progress for a log: a line after :data:`PATIENCE` seconds, and then every :data:`EVERY`."""

    def __init__(self, what: str) -> None:
        self._what, self._begin = what, time.monotonic()
        self._next = self._begin + PATIENCE

    def __call__(self, done: float, total: float) -> None:
        now = time.monotonic()
        if now < self._next or not 0 < done < total:
            return
        self._next = now + EVERY
        left = (now - self._begin) * (total - done) / done
        note(f"{self._what}: {100 * done / total:.0f} %, about {left:,.0f} s left")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something goes on whose length is not known; in a log, if it takes long."""
    with _timed(what):
        if _moving():
            with _notes.status(Text(what)):
                yield
            return
        late = Timer(PATIENCE, note, [f"{what} ..."])
        late.daemon = True
        late.start()
        try:
            yield
        finally:
            late.cancel()


def _moving() -> bool:
    """Whether something that moves can be shown, and is wanted."""
    return _notes.is_terminal and not _notes.quiet


@contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    log.info("%s ...", what)
    yield
    log.info("%s: %.2f s", what, time.perf_counter() - start)


def table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[object]], *, on_stderr: bool = False
) -> None:
    """Print a table; columns of figures only are aligned to the right.

    Figures are never broken. Columns for which there is no room come in a second table.

    Parameters
    ----------
    title, header
        Printed above the rows; a header of empty names is left out.
    rows
        Their cells, shown by :func:`figure`.
    on_stderr
        Print it on stderr, as a table that is not the verb's result.
    """
    if _results.quiet:
        return
    out = (_notes if on_stderr else _results).fitted()
    lines = [list(header), *([figure(cell) for cell in row] for row in rows)]
    columns = list(zip(*lines, strict=True))
    least = [_least(texts) for texts in columns]
    most = [max(map(cell_len, texts)) for texts in columns]
    out.print(title, style="italic", markup=False)
    for part in _parts(least, out.width):
        grid = Table(header_style="bold", show_header=any(header))
        for i, width in zip(part, _widths(part, least, most, out.width), strict=True):
            side: Literal["left", "right"] = "right" if i and _is_figures(columns[i]) else "left"
            grid.add_column(Text(header[i]), justify=side, overflow="fold", width=width)
        for line in lines[1:]:
            grid.add_row(*(Text(line[i]) for i in part))
        out.print(grid)


def _is_figures(column: Sequence[str]) -> bool:
    return all(text in ("", "-") or FIGURE.fullmatch(text) for text in column[1:])


def _least(texts: Sequence[str]) -> int:
    """Width that these texts need: figures in one piece, words folded where they are long."""
    figures = (len(text) for text in texts if FIGURE.fullmatch(text))
    words = (min(NAMES, cell_len(word)) for text in texts for word in text.split())
    return max((1, *figures, *words))


def _parts(least: Sequence[int], width: int) -> Iterator[list[int]]:
    """Columns of each table, the first one in all of them, so that no figure is broken."""
    first = least[0] + EDGES + 1
    part, used = [0], first
    for i, needed in enumerate(least[1:], 1):
        if used + needed + EDGES > width and len(part) > 1:
            yield part
            part, used = [0], first
        part.append(i)
        used += needed + EDGES
    yield part


def _widths(
    part: Sequence[int], least: Sequence[int], most: Sequence[int], width: int
) -> Iterable[int]:
    """Width of each column of a table: what is left goes to the narrowest that can use it."""
    found = {i: least[i] for i in part}
    for _ in range(width - sum(found.values()) - EDGES * len(part) - 1):
        short = [i for i in part if found[i] < most[i]]
        if not short:
            break
        found[min(short, key=found.__getitem__)] += 1
    return found.values()


def fields(title: str, values: Mapping[str, object], *, on_stderr: bool = False) -> None:
    """Print names and values."""
    table(title, ("", ""), list(values.items()), on_stderr=on_stderr)


def shares(cycles: Mapping[str, float], total: float) -> list[tuple[str, int, float]]:
    """Rows of a table: what took cycles, how many, and per cent of ``total``."""
    return [
        (name.replace("_", " "), round(n), 100 * n / max(1, total)) for name, n in cycles.items()
    ]


def speed(rate: float) -> str:
    """A rate without decimals, or with two digits where it is small."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def figure(value: object) -> str:
    """A number as people read it."""
    if value is None:
        return "-"
    if isinstance(value, float) and 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e9 else f"{value:.3e}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(figure, value))
    return str(value)
