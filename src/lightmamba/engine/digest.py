"""Digests of what a run observes, by token and name, and the first difference of two runs.

Engine, simulated hardware and board emit the same names (docs/reference/observables.md); so a
difference between two of them is found by comparing short strings, then one tensor.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Difference", "Digests", "digest", "first_difference"]

START = "embedding"  # the first name of every token
Key = tuple[int, str]


def digest(name: str, array: NDArray[Any]) -> str:
    """Digest of an integer tensor: 16 hexadecimal digits.

    BLAKE2b with 8 bytes over the name in UTF-8, a zero byte, the number of axes and the shape, and
    the values in C order; every number as a little-endian int64. The array's type does not matter.

    Raises
    ------
    ValueError
        If the values are not integers.
    """
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} holds {array.dtype}, but only integers have a digest")
    state = blake2b(name.encode() + b"\0", digest_size=8)
    state.update(np.array([array.ndim, *array.shape], dtype="<i8").tobytes())
    state.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return state.hexdigest()


class Digests(Mapping[Key, str]):
    """Observer of a run that feeds one token per call: (token, name) -> digest.

    Parameters
    ----------
    keep : bool
        Keep the tensors too, so that a difference can be located; memory grows with the run.
    first : int
        Number of the first token.
    """

    def __init__(self, *, keep: bool = False, first: int = 0) -> None:
        self.token = first - 1
        self.arrays: dict[Key, NDArray[np.int64]] = {}
        self._keep, self._digests = keep, dict[Key, str]()

    def __call__(self, name: str, array: NDArray[Any]) -> None:
        """Note one tensor; ``embedding`` begins the next token."""
        self.token += name == START
        key = self.token, name
        if key in self._digests:
            raise ValueError(f"{name} was observed twice at token {self.token}")
        self._digests[key] = digest(name, array)
        if self._keep:
            self.arrays[key] = array.astype(np.int64)

    def __getitem__(self, key: Key) -> str:
        return self._digests[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


@dataclass(frozen=True)
class Difference:
    """Where two runs first part."""

    token: int
    name: str
    index: tuple[int, ...] | None = None  # of the first differing value, where both were kept
    ours: int | None = None
    theirs: int | None = None
    reason: str = "the values differ"

    def __str__(self) -> str:
        where = f"token {self.token}, {self.name}"
        if self.index is None:
            return f"{where}: {self.reason}"
        return f"{where}{list(self.index)}: {self.ours} here, {self.theirs} there"


def first_difference(ours: Digests, theirs: Digests) -> Difference | None:
    """First (token, name), in the order of ``ours``, at which two runs differ; None if nowhere.

    The index and both values are found where both runs kept their tensors. A name that one of them
    lacks is a difference too.
    """
    for token, name in ours:
        if (token, name) not in theirs:
            return Difference(token, name, reason="there it was not observed")
        if ours[token, name] != theirs[token, name]:
            return _locate(token, name, ours.arrays, theirs.arrays)
    for token, name in theirs:
        if (token, name) not in ours:
            return Difference(token, name, reason="here it was not observed")
    return None


def _locate(
    token: int,
    name: str,
    ours: dict[Key, NDArray[np.int64]],
    theirs: dict[Key, NDArray[np.int64]],
) -> Difference:
    a, b = ours.get((token, name)), theirs.get((token, name))
    if a is None or b is None:
        return Difference(token, name)
    if a.shape != b.shape:
        return Difference(token, name, reason=f"its shape is {a.shape} here, {b.shape} there")
    index = tuple(int(i) for i in np.argwhere(a != b)[0])
    return Difference(token, name, index, int(a[index]), int(b[index]))
