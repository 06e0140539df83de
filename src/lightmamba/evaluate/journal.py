"""What an evaluation has found so far, in a file, so that one that was stopped goes on.

One JSON object per line, each added whole and never changed. The first says what the file is. A
**part** is one text or one task; a line with its name and its settings opens it, and lines with its
name, a unit and what was found there follow. A unit is what is read together: some windows, or
requests with contexts of one length. Numbers are written so that they read back the same, so an
evaluation that goes on ends with the numbers of one that was never stopped. A last line that is not
whole, of a process that was killed while it wrote, is dropped. One process at a time has the file.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightmamba.errors import InputError
from lightmamba.locks import Owner, append, take

__all__ = ["Journal", "Part"]

HEAD = {"journal": "lightmamba evaluate", "version": 1}
FIRST = json.dumps(HEAD)
Record = dict[str, Any]


class Journal(Owner):
    """A file of records.

    Parameters
    ----------
    path : Path
        Made if there is none; its folder must exist.
    anew : bool
        Empty a journal of another evaluation, or one that is damaged, instead of refusing it.

    Raises
    ------
    InputError
        If it holds something else, is in use, or cannot be read or written.
    """

    def __init__(self, path: str | Path, *, anew: bool = False) -> None:
        self.path, self._anew = Path(path), anew
        self._settings: dict[str, Record] = {}
        self._found: dict[str, dict[int, Record]] = {}
        try:
            self._file = take(self.path)
        except BlockingIOError as error:
            raise InputError(
                f"the journal {self.path} is in use by another evaluation; wait for it, "
                f"or give --journal another file"
            ) from error
        except OSError as error:
            raise InputError(
                f"the journal {self.path} cannot be opened: {error.strerror}; "
                f"give a file in a folder that exists, such as evaluation.jsonl"
            ) from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def part(self, name: str, settings: Mapping[str, Any]) -> "Part":
        """Open or begin the part called ``name``.

        Parameters
        ----------
        name : str
            Of a text or of a task.
        settings : mapping
            All that its numbers depend on, by what people call it; what is large as a hash.

        Raises
        ------
        InputError
            If the journal has this part with other settings; names the first that differs.
        """
        given = json.loads(json.dumps(dict(settings)))
        if name not in self._settings:
            self._append({"part": name, "settings": given})
            self._settings[name], self._found[name] = given, {}
        old = self._settings[name]
        for what in [*given, *old]:
            if (was := old.get(what)) != (now := given.get(what)):
                if self._anew:
                    self._empty()
                    return self.part(name, given)
                raise InputError(
                    f"the journal {self.path} is of another evaluation: {what} of {name} was "
                    f"{_short(was)} there and is {_short(now)} here; give --journal another file, "
                    f"or remove this one to begin anew"
                )
        return Part(self, name)

    def _open(self) -> None:
        try:
            self._read(self.path.read_bytes())
        except InputError:
            if not self._anew:
                raise
            self._empty()

    def _empty(self) -> None:
        self._settings.clear()
        self._found.clear()
        os.ftruncate(self._file, 0)
        self._write(FIRST)

    def _read(self, data: bytes) -> None:
        """Take over the records, and cut off a last line that is not whole."""
        end = 0
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                if number == 1 and not FIRST.encode().startswith(line):
                    raise self._stranger()
                break
            try:
                self._take(json.loads(line), number)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if number == 1:
                    raise self._stranger() from error
                raise InputError(
                    f"line {number} of the journal {self.path} is damaged; "
                    f"remove the file to begin anew"
                ) from error
            end += len(line)
        os.ftruncate(self._file, end)
        if end == 0:
            self._write(FIRST)

    def _take(self, record: Record, number: int) -> None:
        if number == 1:
            if record != HEAD:
                raise ValueError("it has another head")
        elif "settings" in record:
            self._settings[record["part"]], self._found[record["part"]] = record["settings"], {}
        else:
            units = self._found[record["part"]]
            units[record["unit"]] = {key: record[key] for key in ("found", "counters")}

    def _stranger(self) -> InputError:
        return InputError(
            f"{self.path} is no journal of an evaluation by this version; "
            f"give --journal a file that does not exist yet, such as evaluation.jsonl"
        )

    def _append(self, record: Record) -> None:
        self._write(json.dumps(record))

    def _write(self, line: str) -> None:
        try:
            append(self._file, f"{line}\n".encode())
        except OSError as error:
            raise InputError(
                f"the journal {self.path} cannot be written: {error.strerror}; what it holds is "
                f"whole, so the same command goes on once it can"
            ) from error


class Part:
    """Records of one text or one task; without a journal, none are kept.

    What a model saturated while it read is kept with each record, so that its ``counters``, if it
    has any, end as if nothing had been stopped.
    """

    def __init__(self, journal: Journal | None = None, name: str = "") -> None:
        self._journal, self._name = journal, name
        self._before: Counter[str] = Counter()

    def find(self, unit: int, model: Any) -> Any:
        """What was found in a unit, or None: then the caller reads it and calls :meth:`keep`."""
        if self._journal is None:
            return None
        record = self._journal._found[self._name].get(unit)
        counters = getattr(model, "counters", Counter())
        if record is None:
            self._before = Counter(counters)
            return None
        counters.update(record["counters"])
        return record["found"]

    def keep(self, unit: int, model: Any, found: Any) -> Any:
        """Write down what was found in a unit, as JSON has it, and give it back."""
        if self._journal is not None:
            lost = Counter(getattr(model, "counters", Counter()))
            lost.subtract(self._before)
            counters = {kind: int(n) for kind, n in lost.items() if n}
            record = {"part": self._name, "unit": unit, "found": found, "counters": counters}
            self._journal._append(record)
        return found


def _short(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= 16 else f"{text[:12]}…"
