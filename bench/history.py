"""Checks of stored rows against the repository.

No commit changes the values or the hash of a row without its date and commit: only a run writes
rows.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.common import ROOT, git
from bench.stored import RESULTS
from lightmamba.store import HEAD, Record, parse_store

__all__ = ["changed_by_hand", "problems"]

COMMITS = 20  # of the results, the newest, that are compared with the ones before
RUN = ("date", "commit")  # entries of `made` that differ between two runs


def problems() -> Iterator[str]:
    """One sentence for each row that a recent commit changes, and no run."""
    where = str(RESULTS.relative_to(ROOT))
    commits = git("log", f"-{COMMITS}", "--format=%h", "--", where).split()
    pairs = [*((f"{each}^", each) for each in commits), ("HEAD", "")]
    for before, after in pairs:
        files = git("diff", "--name-only", "--diff-filter=M", before, *after.split(), "--", where)
        for file in files.split():
            new = _stored(after, file) if after else (ROOT / file).read_bytes()
            for key in changed_by_hand(_stored(before, file), new):
                said = f"commit {after}" if after else "the working tree"
                yield f"{file}: {said} changes the row {key!r} without a run; run its command"


def changed_by_hand(before: bytes, after: bytes) -> list[str]:
    """Keys of rows whose content differs between two states of a file, but not their run."""
    old = {record.key: record for record in _parsed(before)}
    return [
        record.key for record in _parsed(after)
        if (was := old.get(record.key)) is not None and was != record and "check" in was.made
        and all(was.made.get(name) == record.made.get(name) for name in RUN)
    ]  # fmt: skip


def _parsed(data: bytes) -> list[Record]:
    return parse_store(Path("results"), data) if data.startswith(HEAD) else []


def _stored(commit: str, file: str) -> bytes:
    words = ["git", "show", f"{commit}:{file}"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, check=False).stdout
