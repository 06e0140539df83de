"""Results of the benchmarks: one file of rows for each, and the table of all benchmarks.

Some entries of a row say what it is of, the others are its values. A new row replaces an older one
of the same. Each knows the command, commit, date and computer that made it; a figure of hardware
also has the hash of what was measured (:mod:`bench.identity`). Only :func:`keep`, called by the run
that measured, writes a row: its check shows an edit by hand.
"""

import hashlib
import importlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.common import ROOT, changed_since, commit, machine
from lightmamba.common.errors import InputError
from lightmamba.common.store import Record, Store, read_store

__all__ = [
    "BENCHMARKS", "HARDWARE", "MADE", "RESULTS", "Benchmark", "Row", "foot", "keep", "rows",
]  # fmt: skip

RESULTS = ROOT / "bench/results"
Row = dict[str, Any]
MADE = "made"  # the entry of a row that says how it came about
HARDWARE = "hardware"  # the entry of that with the hash of what was measured
CHECK = "check"
LISTED = 3  # commits that a foot lists
LONGEST = 1000  # letters of a row that are printed
BEGUN = commit()  # that of the run, however long it takes
_last = time.monotonic()


@dataclass(frozen=True)
class Benchmark:
    """Rows of one kind.

    Parameters
    ----------
    of : tuple of str
        Entries that say what a row is of.
    how : str
        "measured", "simulated", "synthesized", "proved" or "estimated". Simulated, synthesized and
        proved rows are figures of hardware: their module has ``identity(row)``.
    module : str or None
        Under ``bench``, that makes them; by default that of the benchmark's name.
    words : callable or None
        Words of the command line that make a row again; without it, one command makes all rows.
    """

    of: tuple[str, ...]
    how: str
    module: str | None = None
    words: Callable[[Row], list[str]] | None = None


def _entry(name: str) -> Callable[[Row], list[str]]:
    return lambda row: [str(row[name])]


def _of_engine(row: Row) -> list[str]:
    """Words of a run; LLAMA_PYTHON is a Python that has llama-cpp-python."""
    how = {
        "llama": ["--llama-python", os.environ.get("LLAMA_PYTHON", "LLAMA_PYTHON")],
        "float": ["--transformers"],
        "alone": ["--alone"],
    }[row["kind"]]
    names = ("shape", "threads", "warm", "tokens", "prompt")
    return [word for name in names for word in (f"--{name}", str(row[name]))] + how


def _of_digests(row: Row) -> list[str]:
    model, _, target = row["model"].partition(" on ")
    shape = model.removesuffix(", random weights")
    words = ["--tokens", str(row["tokens"])]
    words += ["--shape", shape] if shape.startswith("mamba2") else []
    return words + (["--target", target.strip("`")] if target else [])


BENCHMARKS = {
    "accuracy": Benchmark(
        ("model", "method", "width"),
        "measured",
        words=lambda r: ["--models", r["model"], "--methods", r["method"], "--only", r["width"]],
    ),
    "budget": Benchmark(
        ("model", "weights", "activations"), "measured", words=lambda r: [r["model"]]
    ),
    "calibration": Benchmark(
        ("model", "width", "sequences"), "measured", "accuracy", words=lambda r: ["calibration"]
    ),
    "choices": Benchmark(("choice",), "measured", "accuracy", words=lambda r: ["choices"]),
    "clients": Benchmark(("model", "threads"), "measured"),
    "digests": Benchmark(("model",), "simulated", words=_of_digests),
    "drift": Benchmark(("recipe", "state"), "measured"),
    "engine": Benchmark(("kind", "shape", "threads"), "measured", words=_of_engine),
    "estimates": Benchmark(("case",), "simulated", words=_entry("case")),
    "evaluation": Benchmark(("model",), "measured", words=_entry("model")),
    "full": Benchmark(("name",), "simulated", words=_entry("name")),
    "hybrids": Benchmark(("shape", "target", "mode", "context"), "estimated"),
    "mutants": Benchmark(("block", "why"), "simulated", words=_entry("block")),
    "passes": Benchmark(
        ("name",), "simulated", "full", words=lambda r: [r["name"].removesuffix(f", {r['mode']}")]
    ),
    "passes_estimates": Benchmark(("machine",), "simulated", "estimates", words=_entry("machine")),
    "proofs": Benchmark(("unit",), "proved", words=_entry("unit")),
    "quantize": Benchmark(
        ("shape", "recipe", "tokens", "threads"),
        "measured",
        words=lambda r: ["--shapes", r["shape"], "--sequences", str(r["tokens"] // 512)],
    ),
    "recall": Benchmark(("part", "row"), "measured", words=lambda r: ["--models", r["model"]]),
    "scales": Benchmark(("scale",), "measured", "accuracy", words=lambda r: ["scales"]),
    "serve": Benchmark(("kind", "model", "threads", "stream"), "measured"),
    "shapes": Benchmark(("case",), "simulated", words=_entry("case")),
    "slow_decay": Benchmark(("decay", "state"), "measured", "drift"),
    "soak": Benchmark(("machine",), "simulated", words=_entry("machine")),
    "speculation": Benchmark(("model", "threads", "writer", "kind"), "measured"),
    "synth": Benchmark(("machine",), "synthesized", words=_entry("machine")),
    "ulx3s_place": Benchmark(
        ("model", "seed"),
        "synthesized",
        words=lambda r: ["--model", r["model"], "--seed", str(r["seed"])],
    ),
    "ulx3s_run": Benchmark(
        ("model", "what"), "simulated", words=lambda r: [r["what"], "--model", r["model"]]
    ),
}


def keep(
    name: str,
    *found: Mapping[str, Any],
    command: str | None = None,
    stay: Callable[[Row], bool] | None = None,
    dry: bool = False,
) -> None:
    """Print rows of a benchmark and keep them; wait for another process that does.

    The commit of a row is that of the run's begin. Where code was changed after it, the row says so
    (``+changes``), and ``make check`` refuses it.

    Parameters
    ----------
    name
        Of :data:`BENCHMARKS`.
    found
        Rows; an older row of the same is dropped.
    command
        What made them, if it is not ``python -m bench.NAME``.
    stay
        Which of the older rows stay; by default all.
    dry
        Print them only.
    """
    global _last
    kind = BENCHMARKS[name]
    RESULTS.mkdir(exist_ok=True)
    now, of = time.monotonic(), BEGUN + "+changes" * changed_since(BEGUN)
    made = {
        "command": command or f"python -m bench.{kind.module or name}",
        "computer": machine(),
        "commit": of,
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "seconds": round((now - _last) / max(1, len(found)), 1),
    }
    identity = identity_of(name)
    new = []
    for row in found:
        what = {entry: row[entry] for entry in kind.of}
        values = {entry: value for entry, value in row.items() if entry not in (*what, "how")}
        key = ", ".join(str(value) for value in what.values())
        mine = made | ({HARDWARE: identity(dict(row))} if identity else {})
        new.append(checked(Record(key, values, what, row.get("how", kind.how), mine)))
        print(f"{key}: {shown(values)}"[:LONGEST], flush=True)
    if dry:
        return
    with Store(RESULTS / f"{name}.jsonl", "bench", wait=True) as store:
        old = [record for record in store if stay is None or stay(_row(record))]
        store.rewrite({record.key: record for record in [*old, *new]}.values())
    _last = time.monotonic()


def shown(value: Any) -> str:
    """Value for people: numbers with four digits, of three or more the median and the range."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(each)}" for name, each in value.items())
    if isinstance(value, list) and all(isinstance(n, int | float) for n in value):
        if len(value) > 2:
            return f"{median(value):,.4g} [{min(value):,.4g}, {max(value):,.4g}]"
        return " / ".join(map(shown, value))
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def identity_of(name: str) -> Callable[[Row], str] | None:
    """Function that hashes what a row measured, of a benchmark of hardware; None of the others."""
    kind = BENCHMARKS[name]
    if kind.how not in ("simulated", "synthesized", "proved") or name == "mutants":
        return None  # a planted fault has the hash of its own source and tests
    found: Callable[[Row], str]
    found = importlib.import_module(f"bench.{kind.module or name}").identity
    return found


def checked(record: Record) -> Record:
    """The record with the check of its content."""
    made = {name: value for name, value in record.made.items() if name != CHECK}
    bare = msgspec.structs.replace(record, made=made)
    plain = msgspec.json.decode(msgspec.json.encode(bare, enc_hook=lambda value: value.tolist()))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    check = hashlib.sha256(text.encode()).hexdigest()[:16]
    return msgspec.structs.replace(bare, made=made | {CHECK: check})


def rows(name: str) -> list[Row]:
    """Rows of a benchmark: what they are of, their values, and ``made``; none if it was not run.

    Raises
    ------
    InputError
        If a row was edited by hand, or the file is cut: its name and line.
    """
    path = RESULTS / f"{name}.jsonl"
    if not path.is_file():
        return []
    found = [_row(record) for record in records(path)]
    for row in found:
        row[MADE]["benchmark"] = name
    return found


def records(path: Path) -> list[Record]:
    """Records of a file of results, each with its check.

    Raises
    ------
    InputError
        As :func:`rows`.
    """
    shown, text = path.relative_to(path.parents[2]), path.read_bytes()
    again = f"take back the file of the last commit: git checkout {shown}"
    if not text.endswith(b"\n"):
        raise InputError(f"{shown}:{len(text.splitlines()) or 1}: the line is cut off; {again}")
    found = read_store(path)
    for line, record in enumerate(found, start=2):
        if record.made.get(CHECK) != checked(record).made[CHECK]:
            raise InputError(
                f"{shown}:{line}: the row was edited by hand ({record.key}); run its command, or "
                f"{again}"
            )
    return found


def _row(record: Record) -> Row:
    return {**record.what, **record.values, MADE: {**record.made, "how": record.how}}


def foot(found: Iterable[Row]) -> str:
    """Where rows come from, as one line below their table: command, date, commit and computer."""
    said = []
    made = [row[MADE] for row in found]
    for how in dict.fromkeys(each["how"] for each in made):
        mine = [each for each in made if each["how"] == how]
        commands, commits, computers = (
            sorted({each[name] for each in mine}) for name in ("command", "commit", "computer")
        )
        by = " and ".join(f"`{command}`" for command in commands)
        text = f"{how} {_dates([each['date'][:10] for each in mine])} {_commits(commits)} by {by}"
        short = sorted({computer.split(", Python")[0] for computer in computers})
        said.append(
            f"{text} on {short[0] if len(short) == 1 else f'one of {len(short)} computers'}"
        )
    line = "; ".join(said)
    return f"\n{line[:1].upper()}{line[1:]}.\n"


def _commits(commits: list[str]) -> str:
    if len(commits) > LISTED:
        return f"at {len(commits)} commits"
    return "at " + ", ".join(commits)


def _dates(days: list[str]) -> str:
    """A day, or the first and the last one, such as "2026-11-27 to 29"."""
    first, last = min(days), max(days)
    if first == last:
        return first
    one, other = date.fromisoformat(first), date.fromisoformat(last)
    same = (one.year, one.month) == (other.year, other.month)
    return f"{first} to {other.day:02}" if same else f"{first} to {last}"
