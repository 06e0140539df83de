"""Results of the benchmarks: a file of records for each, and a table of all benchmarks.

A benchmark gives rows: some of their entries say what a row is of, the others are its values. A row
replaces the one of before that is of the same; each knows its command, computer, commit and date.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.common import commit, machine
from bench.sources import source_hash
from lightmamba.store import Record, Store, read_store

__all__ = ["BENCHMARKS", "MADE", "RESULTS", "Benchmark", "Row", "foot", "keep", "rows"]

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]
MADE = "made"  # the entry of a row that says how it came about


@dataclass(frozen=True)
class Benchmark:
    """Rows of one kind.

    Parameters
    ----------
    of : tuple of str
        Entries that say what a row is of.
    how : str
        "measured", "simulated", "synthesized", "estimated" or "computed".
    source : str or None
        Of :data:`bench.sources.SOURCES`: what the rows depend on.
    module : str
        Under ``bench``, that makes them; by default that of the benchmark's name.
    """

    of: tuple[str, ...]
    how: str
    source: str | None
    module: str | None = None


BENCHMARKS = {
    "ablation": Benchmark(("target", "part", "row"), "estimated", "estimate"),
    "accuracy": Benchmark(("model", "method", "width"), "measured", "accuracy"),
    "boards": Benchmark(("target", "shape"), "computed", "targets"),
    "bubbles": Benchmark(("pause",), "simulated", "simulation", "timeline"),
    "calibration": Benchmark(("model", "width", "sequences"), "measured", "accuracy"),
    "choices": Benchmark(("choice",), "measured", "accuracy"),
    "digests": Benchmark(("model",), "measured", "simulation"),
    "drift": Benchmark(("recipe", "state"), "measured", "accuracy"),
    "ecp5": Benchmark(("block",), "synthesized", "synthesis", "placed"),
    "energy": Benchmark(("part", "row"), "computed", "estimate"),
    "engine": Benchmark(("kind", "shape", "threads"), "measured", "engine"),
    "estimates": Benchmark(("case",), "simulated", "simulation"),
    "evaluation": Benchmark(("model",), "measured", "engine"),
    "full": Benchmark(("name",), "simulated", "simulation"),
    "hybrids": Benchmark(("shape", "target", "pass", "context"), "estimated", "estimate"),
    "mutants": Benchmark(("block", "why"), "simulated", None),  # its table compares each block
    "netlist": Benchmark(("target", "model", "stage"), "simulated", "synthesis"),
    "paper": Benchmark(("model", "recipe", "kind", "measure"), "measured", "accuracy"),
    "passes": Benchmark(("name",), "simulated", "simulation"),
    "passes_editing": Benchmark(("row", "kind"), "simulated", "simulation"),
    "passes_estimates": Benchmark(("machine",), "simulated", "simulation"),
    "quantize": Benchmark(("shape", "recipe", "tokens", "threads"), "measured", "quantize"),
    "random_passes": Benchmark(("target",), "simulated", "simulation"),
    "rates": Benchmark(("order", "beats_per_cycle"), "simulated", "simulation"),
    "recall": Benchmark(("part", "row"), "measured", "accuracy"),
    "scales": Benchmark(("scale",), "measured", "accuracy"),
    "serve": Benchmark(("kind", "model", "threads", "stream"), "measured", "serve"),
    "shapes": Benchmark(("case",), "simulated", "simulation"),
    "slow_decay": Benchmark(("decay", "state"), "measured", "accuracy", "drift"),
    "speculation": Benchmark(("model", "threads", "writer", "kind"), "measured", "engine"),
    "speed": Benchmark(("what",), "measured", "engine"),
    "synth": Benchmark(("machine",), "synthesized", "synthesis"),
    "ulx3s_place": Benchmark(("target", "seed"), "synthesized", "board"),
    "ulx3s_run": Benchmark(("target", "what"), "simulated", "board"),
}


def keep(
    name: str,
    *found: Mapping[str, Any],
    command: str | None = None,
    stay: Callable[[Row], bool] | None = None,
) -> None:
    """Keep rows of a benchmark, and wait for another process that does.

    Parameters
    ----------
    name
        Of :data:`BENCHMARKS`.
    found
        Rows; a row of before that is of the same goes.
    command
        What made them, if it is not ``python -m bench.NAME``.
    stay
        Which of the rows of before stay; by default all.
    """
    kind = BENCHMARKS[name]
    RESULTS.mkdir(exist_ok=True)
    made = {
        "command": command or f"python -m bench.{kind.module or name}",
        "computer": machine(),
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "source": source_hash(kind.source) if kind.source else None,
    }
    new = []
    for row in found:
        what = {entry: row[entry] for entry in kind.of}
        values = {entry: value for entry, value in row.items() if entry not in (*what, "how")}
        key = ", ".join(str(value) for value in what.values())
        new.append(Record(key, values, what, row.get("how", kind.how), made))
    with Store(RESULTS / f"{name}.jsonl", "bench", wait=True) as store:
        old = [record for record in store if stay is None or stay(_row(record))]
        store.rewrite({record.key: record for record in [*old, *new]}.values())


def rows(name: str) -> list[Row]:
    """Rows of a benchmark: what they are of, their values, and ``made``; none if it was not run."""
    path = RESULTS / f"{name}.jsonl"
    if not path.is_file():
        return []
    source = BENCHMARKS[name].source
    now = source_hash(source) if source else None
    found = [_row(record) for record in read_store(path)]
    for row in found:
        row[MADE]["outdated"] = row[MADE].get("source", now) != now
    return found


def _row(record: Record) -> Row:
    return {**record.what, **record.values, MADE: {**record.made, "how": record.how}}


def foot(found: Iterable[Row]) -> str:
    """Where rows come from, below their table, and whether their source has changed since."""
    made = [row[MADE] for row in found]
    hows, commands, computers, dates, commits = (
        sorted({each[name] for each in made})
        for name in ("how", "command", "computer", "date", "commit")
    )
    said = (
        f"{' and '.join(hows).capitalize()} by {', '.join(f'`{command}`' for command in commands)}"
    )
    if hows != ["computed"]:
        said += f" on {'; '.join(computers)}"
    of = "commit" if len(commits) == 1 else "commits"
    old = sum(each.get("outdated", False) for each in made)
    since = f" The source of {old} of {len(made)} rows has changed since." if old else ""
    return f"\n{said}, {', '.join(dates)}, {of} {', '.join(commits)}.{since}\n"
