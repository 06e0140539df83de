"""The table of results on disk: a line of JSON per finished job, in the order they finished."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightmamba.errors import InputError
from lightmamba.locks import Owner, append, take

__all__ = ["RESULTS", "Results", "Row", "check_folder", "is_done", "latest", "read_results"]

RESULTS = "results.jsonl"
Row = Mapping[str, Any]


def is_done(row: Row) -> bool:
    """Whether a row has a result; a failed one has a sentence."""
    return bool(row["status"] == "done")


def latest(rows: list[Row]) -> dict[str, Row]:
    """What is known of each job, by key: its result if there is one, else the last failure."""
    found: dict[str, Row] = {}
    for row in rows:
        if is_done(row) or not is_done(found.get(row["key"], row)):
            found[row["key"]] = row
    return found


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but a sweep.

    Raises
    ------
    InputError
        One sentence.
    """
    if not folder.parent.is_dir():
        raise InputError(f"there is no folder {folder.parent} to make {folder.name} in; make it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder, such as -o sweep")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RESULTS).is_file():
        raise InputError(f"{folder} holds other things than a sweep; give a new folder")


def read_results(folder: Path) -> list[Row]:
    """Rows of a folder, also while a sweep is writing there.

    Raises
    ------
    InputError
        If there are none, or a line is none.
    """
    path = folder / RESULTS
    try:
        return _rows(path, path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{folder} holds no results of a sweep; make some with: lightmamba sweep PLAN.toml -o "
            f"{folder}"
        ) from error


class Results(Owner):
    """The results of a folder, for the one process that adds to them.

    A line that an interruption left unfinished is dropped; its job is done again.

    Parameters
    ----------
    folder
        Made if it is not there.

    Raises
    ------
    InputError
        If another sweep writes there, it cannot be written, or a line is no result.
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        path = folder / RESULTS
        try:
            folder.mkdir(exist_ok=True)
            self._file = take(path)
        except BlockingIOError as error:
            raise InputError(
                f"another sweep writes into {folder}; wait for it, or give another -o DIR"
            ) from error
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror}; give another -o DIR"
            ) from error
        try:
            data = path.read_bytes()
            self.rows = _rows(path, data)
            os.ftruncate(self._file, data.rfind(b"\n") + 1)
        except InputError:
            self.close()
            raise

    def add(self, row: Row) -> None:
        """Append a row, and wait until it is on disk.

        Raises
        ------
        InputError
            If there is no room for it; what was there before stays.
        """
        text = json.dumps(_finite(row), separators=(",", ":"), allow_nan=False)
        try:
            append(self._file, f"{text}\n".encode())
        except OSError as error:
            raise InputError(
                f"cannot add to {RESULTS}: {error.strerror}; make room, and start again to go on"
            ) from error
        self.rows.append(row)


def _finite(value: Any) -> Any:
    """Values that JSON has a word for: infinity and NaN become null."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(path: Path, data: bytes) -> list[Row]:
    whole = data[: data.rfind(b"\n") + 1]
    if data and not whole and not data.startswith(b"{"):
        raise InputError(f"{path} is no file of results; give another folder")
    rows: list[Row] = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not {"key", "status", "kind"} <= set(row):
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"line {number} of {path} is no result; take it out, or give another folder"
            ) from error
        rows.append(row)
    return rows
