"""Results files as tables in Markdown."""

import json
from collections.abc import Iterable
from typing import Any

from bench.common import RESULTS

__all__ = ["NotRun", "foot", "foot_of_rows", "lines", "load"]


class NotRun(Exception):
    """A benchmark that has no results yet."""


def load(name: str) -> dict[str, Any]:
    """One results file.

    Raises
    ------
    NotRun
        If there is none.
    """
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise NotRun(name)
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def lines(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    body = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in body) + "\n"


def foot(record: dict[str, Any]) -> str:
    """Where the numbers come from."""
    rows = record["results"]
    commits = {r["commit"] for r in rows if "commit" in r} if isinstance(rows, list) else set()
    made_at = ", ".join(sorted(commits | {record["commit"]}))
    return (
        f"\nMeasured by `{record['command']}` on {record['machine']}, "
        f"{record['date']}, commits {made_at}.\n"
    )


def foot_of_rows(rows: Iterable[dict[str, Any]], command: str) -> str:
    """Where rows come from that were measured one by one, on any machines."""
    rows = list(rows)
    commits, dates = (", ".join(sorted({r[key] for r in rows})) for key in ("commit", "date"))
    machines = "; ".join(sorted({r["machine"] for r in rows}))
    return f"\nMeasured by `{command}` on {machines}, {dates}, commits {commits}.\n"
