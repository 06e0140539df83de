"""Measure the figures of README and docs again: ``make figures``.

    python -m bench.figures                        # all pages, README first
    python -m bench.figures README.md              # one page
    python -m bench.figures --dry [README.md]      # say what is not current, and run nothing

A figure of hardware is current while the hash of what was measured (:mod:`bench.identity`) is
today's. Any other figure is current while the code that it depends on is that of its commit, but
for comments and docstrings. What is not current is run; then tables, charts and the report are
written. A stopped run keeps what it has measured, and the next one goes on from there. Rows of the
CPU engine need a quiet computer, and LLAMA_PYTHON, a Python that has llama-cpp-python.
"""

import argparse
import functools
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.common import ROOT, changed_since, commit, git
from bench.identity import code
from bench.mutants import fingerprint
from bench.stored import BENCHMARKS, HARDWARE, MADE, Row, identity_of
from bench.tables import CONTRACT, pages, table
from lightmamba.common.errors import InputError

PACKAGE = "src/lightmamba"
ARITHMETIC = ("numerics", "blocks", "model/config.py", "model/qmodel")
# Code that other figures than those of hardware depend on.
PARTS = {
    "measured": (
        *ARITHMETIC, "engine", "native", "text", "device/host", "common/passes.py", "model",
        "quantization", "evaluate", "serve",
    ),
    "estimated": (*ARITHMETIC, "arch", "hardware", "native"),
}  # fmt: skip
WRITERS = ("bench.tables", "bench.charts", "bench.page")  # of what shows the rows
TEXTS, BINARIES = (".py", ".cpp", ".hpp", ".toml", ".json"), (".safetensors", ".xz")
SAME = "R100"  # git's word for a file that was moved as it is
CURRENT, DIFFERS, OLDER = "current", "not current", "of an earlier version"


@dataclass
class Run:
    """A command, and the rows that it makes again.

    Parameters
    ----------
    words : list of str
        Of the command line, after ``python -m``.
    rows : list of Row
    """

    words: list[str]
    rows: list[Row] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """Time of the last runs; None where one of them did not note it."""
        found = [row[MADE].get("seconds") for row in self.rows]
        return None if None in found else sum(map(float, found))

    @functools.cached_property
    def states(self) -> list[str]:
        """State of each row."""
        return [state(row) for row in self.rows]


def state(row: Row) -> str:
    """State of a row: current; not current; of an earlier version, whose hash nobody knows."""
    made = row[MADE]
    name = made["benchmark"]
    if name == "mutants":
        return CURRENT if row["of"] == fingerprint(row["block"]) else DIFFERS
    if identity := identity_of(name):
        if HARDWARE not in made:
            return OLDER
        try:
            return CURRENT if identity(row) == made[HARDWARE] else DIFFERS
        except KeyError:  # its benchmark has no such row any more
            return DIFFERS
    return OLDER if _changed(made["commit"], made["how"]) else CURRENT


@functools.cache
def _changed(of: str, how: str) -> bool:
    """Whether code that figures depend on is other than that of a commit, wherever it was then."""
    if not git("cat-file", "-t", of):
        return True
    parts = [f"{PACKAGE}/{part}" for part in PARTS[how]]
    changes = git("diff", "--find-renames=30%", "--name-status", of, "--", PACKAGE)
    for change in changes.splitlines():
        status, was, *now = change.split("\t")
        file = now[0] if now else was  # of a file that was moved, the new path
        kind = Path(file).suffix
        if kind not in (*TEXTS, *BINARIES) or not any(
            file == part or file.startswith(f"{part}/") for part in parts
        ):
            continue
        if kind in BINARIES:
            if status != SAME:
                return True
            continue
        before = "" if status == "A" else git("show", f"{of}:{was}")
        after = "" if status == "D" else (ROOT / file).read_text(encoding="utf-8")
        if code(before, kind).strip() != code(after, kind).strip():
            return True
    return False


def shown(names: Iterable[str]) -> list[Row]:
    """Rows that tables show."""
    found: dict[tuple[str, str], Row] = {}
    for row in (row for name in names if name not in CONTRACT for row in table(name).rows):
        kind = row[MADE]["benchmark"]
        found[kind, str([row[entry] for entry in BENCHMARKS[kind].of])] = row
    return list(found.values())


def runs(rows: Iterable[Row]) -> list[Run]:
    """Commands that make rows again, each once."""
    found: dict[tuple[str, ...], Run] = {}
    for row in rows:
        name = row[MADE]["benchmark"]
        kind = BENCHMARKS[name]
        words = [f"bench.{kind.module or name}", *(kind.words(row) if kind.words else [])]
        found.setdefault(tuple(words), Run(words)).rows.append(row)
    return list(found.values())


def report(page: Path, each: list[Run]) -> list[Run]:
    """Print what is not current on a page; the runs that make it so."""
    rows = [(row, state) for run in each for row, state in zip(run.rows, run.states, strict=True)]
    counts = {what: sum(s == what for _, s in rows) for what in (CURRENT, DIFFERS, OLDER)}
    said = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    print(f"{page.relative_to(ROOT)}: {len(rows)} figures, {said}", flush=True)
    wanted = [run for run in each if set(run.states) != {CURRENT}]
    for run in wanted:
        worst = DIFFERS if DIFFERS in run.states else OLDER
        of = ", ".join(sorted({row[MADE]["commit"] for row in run.rows}))
        took = "time unknown" if run.seconds is None else f"{run.seconds / 60:.1f} minutes"
        print(f"  {worst} (commit {of}; {took}): python -m {shlex.join(run.words)}")
    return wanted


def measure(wanted: list[Run]) -> None:
    """Run commands one after the other.

    Raises
    ------
    InputError
        If code was changed since the last commit, or a command fails.
    """
    if changed_since(commit()):
        raise InputError(
            "a figure belongs to a commit, and there are changes that are not committed; "
            "commit or stash them first, or give --dry"
        )
    begin = time.monotonic()
    known = [run.seconds for run in wanted]
    for n, run in enumerate(wanted):
        left = sum(seconds or 0.0 for seconds in known[n:]) / 60
        print(f"{n + 1} of {len(wanted)}, about {left:.0f} minutes left: "
              f"python -m {shlex.join(run.words)}", flush=True)  # fmt: skip
        if subprocess.run([sys.executable, "-m", *run.words], cwd=ROOT, check=False).returncode:
            raise InputError(f"python -m {shlex.join(run.words)} failed; earlier rows are kept")
    print(f"done in {(time.monotonic() - begin) / 60:.0f} minutes")
    for module in WRITERS:
        subprocess.run([sys.executable, "-m", module], cwd=ROOT, check=True)


def main(argv: list[str] | None = None) -> int:
    """Make the figures of the pages that are named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("page", nargs="*", help="such as README.md (all, README first)")
    parser.add_argument("--dry", action="store_true", help="say what is not current")
    parser.add_argument("--check", action="store_true", help="the same; status 1 if anything is")
    args = parser.parse_args(argv)
    try:
        there = {str(path.relative_to(ROOT)): names for path, names in pages().items()}
        if unknown := set(args.page) - set(there):
            raise InputError(f"{min(unknown)} has no tables; pages that have: {', '.join(there)}")
        done: set[tuple[str, ...]] = set()
        wanted: list[Run] = []
        for page in args.page or there:
            each = [run for run in runs(shown(there[page])) if tuple(run.words) not in done]
            done |= {tuple(run.words) for run in each}
            if each:
                wanted += report(ROOT / page, each)
        if args.check:
            return int(bool(wanted))
        if not args.dry:
            measure(wanted)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
