"""Results of an evaluation so far, so that one that was stopped can resume.

A **part** is one text or one task; a **unit** of it is what is read together: some windows, or
requests with contexts of one length. Each unit is a record whose key holds all that its numbers
depend on, so a file may hold several evaluations, and one that goes on ends with the numbers of one
that was never stopped.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from lightmamba.common.store import Record, Store
from lightmamba.evaluate.model import Progress

__all__ = ["Journal", "Part"]

T = TypeVar("T")


class Journal(Store):
    """A file of what evaluations found.

    Parameters
    ----------
    path : Path
        Made if there is none; its folder must exist.
    common
        All that the numbers of every part depend on, such as hashes of the model.
    restart : bool
        Empty a file that is damaged, instead of refusing it.

    Raises
    ------
    InputError
        If it holds something else, is in use, or cannot be read or written.
    """

    def __init__(
        self, path: str | Path, common: Mapping[str, Any] | None = None, *, restart: bool = False
    ) -> None:
        super().__init__(Path(path), "--journal", restart=restart)
        self._common = dict(common or {})

    def part(self, name: str, settings: Mapping[str, Any]) -> "Part":
        """The part called ``name``.

        Parameters
        ----------
        name : str
            Of a text or of a task.
        settings : mapping
            All that its numbers depend on besides; what is large as a hash.
        """
        return Part(self, name, self._common | dict(settings))


class Part:
    """Units of one text or one task; without a store, none are kept.

    What a model saturated while it read is kept with each unit, so that its ``counters``, if it has
    any, end as if nothing had been stopped.
    """

    def __init__(
        self, store: Store | None = None, name: str = "", settings: Mapping[str, Any] | None = None
    ) -> None:
        self._store, self._name = store, name
        text = json.dumps(settings or {}, sort_keys=True)
        self._of = sha256(f"{name}\0{text}".encode()).hexdigest()[:16]
        self._before: Counter[str] = Counter()

    def find(self, unit: int, model: Any) -> Any:
        """Stored result of a unit, or None: then the caller reads it and calls :meth:`keep`."""
        if self._store is None:
            return None
        record = self._store.get(f"{self._of}/{unit}")
        counters = getattr(model, "counters", None)
        if record is None:
            self._before = Counter(counters)
            return None
        if counters is not None:
            counters.update(record.values["counters"])
        return record.values["found"]

    def keep(self, unit: int, model: Any, found: Any) -> Any:
        """Write down what was found in a unit, as JSON has it, and give it back."""
        if self._store is not None:
            lost: Counter[str] = Counter(getattr(model, "counters", None))
            lost.subtract(self._before)
            counters = {kind: int(n) for kind, n in lost.items() if n}
            values = {"found": found, "counters": counters}
            what = {"part": self._name, "unit": unit}
            self._store.add(Record(f"{self._of}/{unit}", values, what, "measured"))
        return found

    def results(
        self,
        model: Any,
        units: Sequence[tuple[int, int, T]],
        read: Callable[[int, T, Callable[[int], None]], Any],
        progress: Progress | None = None,
    ) -> list[Any]:
        """Results of units, of which those that are not kept are read.

        What an earlier run did is reported with what is read next, so that a bar that estimates the
        time left begins to measure there.

        Parameters
        ----------
        model
            With its counters, if it has any.
        units : sequence of (number, tokens, unit)
            What is read together.
        read
            Called with number, unit, and a function that takes the number of tokens just read.
        progress : callable (done, total), optional
            Called with the number of tokens read.
        """
        total, done, reported, found = sum(tokens for _, tokens, _ in units), 0, True, []

        def tell(tokens: int = 0) -> None:
            nonlocal done, reported
            done, reported = done + tokens, True
            if progress is not None:
                progress(done, total)

        for number, tokens, unit in units:
            result = self.find(number, model)
            if result is None:
                if not reported:
                    tell()
                result = self.keep(number, model, read(number, unit, tell))
            else:
                done, reported = done + tokens, False
            found.append(result)
        if not reported:
            tell()
        return found
