"""Checks of stored rows against the repository.

No commit changes the values or the hash of a row without its date and commit: only a run writes
rows, and a check-out of their commit their hashes. The commit of a row is one of the repository, so
that anyone can measure it again.
"""

import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from bench.common import ROOT, git
from bench.stored import RESULTS
from lightmamba.common.store import HEAD, Record, parse_store

__all__ = ["changed_by_hand", "of_no_commit", "problems"]

COMMITS = 20  # of the results, the newest, that are compared with the ones before
# Entries of `made` that differ between two runs. "hashed": the definition of the hash changed; the
# row's own commit was checked out, its old hash found there, and the new one computed.
RUN = ("date", "commit", "hashed")


def problems() -> Iterator[str]:
    """One sentence for each row that no run wrote, or whose commit is not in the repository."""
    if git("rev-parse", "--is-shallow-repository") == "false":  # all commits are here
        commits = git("rev-list", "HEAD").split()
        for path in sorted(RESULTS.glob("*.jsonl")):
            for key in of_no_commit(path.read_bytes(), commits):
                yield (
                    f"{path.relative_to(ROOT)}: the commit of the row {key!r} is not in the "
                    f"repository; run its command"
                )
    where = str(RESULTS.relative_to(ROOT))
    recent = git("log", f"-{COMMITS}", "--format=%h", "--", where).split()
    pairs = [*((f"{each}^", each) for each in recent), ("HEAD", "")]
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


def of_no_commit(content: bytes, commits: Collection[str]) -> list[str]:
    """Keys of rows of a file whose commit is none of these."""
    return [
        record.key for record in _parsed(content)
        if (made := record.made.get("commit")) is not None
        and not any(each.startswith(made) for each in commits)
    ]  # fmt: skip


def _parsed(data: bytes) -> list[Record]:
    return parse_store(Path("results"), data) if data.startswith(HEAD) else []


def _stored(commit: str, file: str) -> bytes:
    words = ["git", "show", f"{commit}:{file}"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, check=False).stdout
