"""A study on disk: Optuna's journal, a line of JSON per change."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from lightmamba.errors import InputError
from lightmamba.locks import take

__all__ = ["Journal"]


class Journal(BaseJournalBackend):
    """A journal of one process at a time, which Optuna's own tools can read.

    Optuna's file backend waits for the disk at each of the twenty changes of a trial; this one
    hands lines to the system and locks the file for as long as it lives. A line that an
    interruption left unfinished is dropped.

    Raises
    ------
    InputError
        If the file cannot be written, is another process's, or is no journal.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.fdopen(take(path), "a+b")
        except BlockingIOError as error:
            raise InputError(f"{path} is in use; wait, or give another --study") from error
        except OSError as error:
            raise InputError(f"cannot keep the study in {path}: {error.strerror}") from error
        try:
            self._logs = self._read()
        except ValueError as error:
            self.close()
            raise InputError(f"{path} is no study; give the file of one, or a new one") from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _read(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        logs = [self._entry(line) for line in data[:whole].splitlines()]
        if data and not logs:
            raise ValueError("not one whole line")
        self._file.truncate(whole)
        return logs

    @staticmethod
    def _entry(line: bytes) -> dict[str, Any]:
        entry = json.loads(line)
        if not isinstance(entry, dict) or "op_code" not in entry:
            raise ValueError("a line of something else")
        return entry

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any]]:
        """Entries from the one of this number on."""
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Keep some more."""
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        self._logs += [json.loads(line) for line in lines]
