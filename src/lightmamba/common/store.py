"""Records of what was found, in a file of JSON lines: evaluations, sweeps, searches, benchmarks.

The first line says what the file is. Each of the others is one :class:`Record`, added whole and on
disk before the next; of several with one key the last counts. A last line that is not whole, of a
process that was killed while it wrote, is dropped. Numbers are written so that they read back the
same.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from lightmamba.common.errors import InputError
from lightmamba.common.locks import Owner, append, take, take_aside

__all__ = ["HEAD", "Record", "Store", "parse_store", "read_store"]

HEAD = b'{"store": "lightmamba", "version": 1}\n'


class Record(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing that was found.

    Parameters
    ----------
    key : str
        All that the values depend on, in words or as a hash: with the same key they are the same.
    values : dict
        Figures by name, as JSON has them; the spread of ``x`` as ``x_standard_error``, or as a list
        of what was measured. Infinity and NaN become null.
    what : dict
        What it was found of, by the names that people use: model, recipe, target.
    how : str
        "measured", "simulated", "synthesized", "estimated", "published" or "computed".
    made : dict
        What it was made with: command, computer, commit, date.
    """

    key: str
    values: dict[str, Any]
    what: dict[str, Any] = {}
    how: str = ""
    made: dict[str, Any] = {}


class Store(Owner):
    """A file of records, for the one process that adds to them.

    Parameters
    ----------
    path : Path
        Made if there is none; its folder must exist.
    flag : str
        Option of the command line that gives it, for error messages.
    restart : bool
        Empty a file that is damaged, instead of refusing it.
    wait : bool
        Wait for another owner, instead of raising.

    Raises
    ------
    InputError
        If it holds something else, is in use, or cannot be read or written.
    """

    def __init__(self, path: Path, flag: str, *, restart: bool = False, wait: bool = False) -> None:
        self.path = path
        try:
            self._file = take(path, wait=wait)
        except BlockingIOError as error:
            raise InputError(
                f"{path} is in use by another process; wait for it, or give {flag} another file"
            ) from error
        except OSError as error:
            raise InputError(
                f"{path} cannot be opened: {error.strerror}; give {flag} a file in a folder that "
                f"exists, such as results.jsonl"
            ) from error
        try:
            self._records = self._read(restart=restart)
        except BaseException:
            self.close()
            raise

    def _read(self, *, restart: bool) -> dict[str, Record]:
        try:
            data = self.path.read_bytes()
            found, end = _records(self.path, data)
        except InputError:
            if not restart:
                raise
            found, end = {}, 0
        os.ftruncate(self._file, end)
        if end == 0:
            self._write(HEAD)
        return found

    def __iter__(self) -> Iterator[Record]:
        """Records in the order in which their keys first came."""
        return iter(self._records.values())

    def get(self, key: str) -> Record | None:
        """The record of a key, or None."""
        return self._records.get(key)

    def add(self, record: Record) -> None:
        """Add a record, and wait until it is on disk.

        Raises
        ------
        InputError
            If there is no room for it; what was there before stays.
        """
        line = _line(record)
        self._write(line)
        self._records[record.key] = _record(line)

    def rewrite(self, records: Iterable[Record]) -> None:
        """Hold these records instead of all of before, in one step.

        Raises
        ------
        InputError
            If there is no room for them; the file is as it was before.
        """
        lines = [_line(record) for record in records]
        file, aside = -1, self.path
        try:
            file, aside = take_aside(self.path)  # locked before it has the path
            append(file, b"".join([HEAD, *lines]))
            aside.replace(self.path)
        except OSError as error:
            if file >= 0:
                aside.unlink(missing_ok=True)
                os.close(file)
            raise InputError(
                f"{self.path} cannot be written: {error.strerror}; it is as it was before"
            ) from error
        self.close()
        self._file = file
        self._records = {record.key: record for record in map(_record, lines)}

    def _write(self, line: bytes) -> None:
        try:
            append(self._file, line)
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written: {error.strerror}; what it holds is whole, so the "
                f"same command goes on once it can"
            ) from error


def read_store(path: Path) -> list[Record]:
    """Records of a file, also while a process adds to them.

    Raises
    ------
    InputError
        If it cannot be read, or is something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return parse_store(path, data)


def parse_store(path: Path, data: bytes) -> list[Record]:
    """Records of the content of a file.

    Raises
    ------
    InputError
        If it is something else.
    """
    return list(_records(path, data)[0].values())


def _records(path: Path, data: bytes) -> tuple[dict[str, Record], int]:
    """Records by key, and how many bytes of the file are whole lines."""
    found: dict[str, Record] = {}
    end = data.rfind(b"\n") + 1
    first, *lines = data[:end].splitlines(keepends=True) or [b""]
    if not (first == HEAD if end else HEAD.startswith(data)):
        raise InputError(
            f"{path} holds no records of this version of lightmamba; give a file that does not "
            f"exist yet, such as results.jsonl"
        )
    for number, line in enumerate(lines, start=2):
        try:
            record = _record(line)
        except msgspec.DecodeError as error:
            raise InputError(
                f"line {number} of {path} is damaged; take it out, or remove the file"
            ) from error
        found[record.key] = record
    return found, end


def _line(record: Record) -> bytes:
    return msgspec.json.encode(record, enc_hook=_plain) + b"\n"


def _plain(value: Any) -> Any:
    """Numbers of numpy as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} is no value of JSON")


def _record(line: bytes) -> Record:
    return msgspec.json.decode(line, type=Record)
