"""States after common beginnings of prompts, kept so that they are not computed again.

The state of a Mamba layer has the same size after one token and after a million; attention layers
keep every token, so that a saved state of a hybrid grows with its prompt.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "WORTH", "PrefixCache"]

BLOCK = 256  # tokens between two states that are kept while a prompt is read
WORTH = 32  # tokens: shorter beginnings are computed as fast as they are copied


class _Entry(NamedTuple):
    saved: Any
    length: int
    size: int


class PrefixCache:
    """Saved states of one model by the tokens before them; the longest unused goes first.

    ``used`` is the memory of what is kept, ``on`` whether anything can be.

    Parameters
    ----------
    limit
        Bytes of all states; 0 keeps none.
    size
        Bytes of the state after a number of tokens.
    """

    def __init__(self, limit: int, size: Callable[[int], int]) -> None:
        self.limit, self.used = limit, 0
        self.on = 0 < size(0) <= limit
        self._size = size
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def longest(self, ids: NDArray[np.int64]) -> tuple[int, Any] | None:
        """Tokens and state of the longest beginning of ``ids`` that is kept, or None."""
        key, done, found = hashlib.blake2b(digest_size=32), 0, None
        for length in sorted({e.length for e in self._entries.values() if e.length <= len(ids)}):
            key.update(_bytes(ids[done:length]))
            done = length
            if (digest := key.digest()) in self._entries:
                found = digest
        if found is None:
            return None
        self._entries.move_to_end(found)
        entry = self._entries[found]
        return entry.length, entry.saved

    def has(self, ids: NDArray[np.int64]) -> bool:
        """Whether the state after exactly these tokens is kept; it then counts as used."""
        key = _key(ids)
        if key not in self._entries:
            return False
        self._entries.move_to_end(key)
        return True

    def takes(self, tokens: int) -> bool:
        """Whether the state after a number of tokens is small enough to be kept."""
        return self.on and self._size(tokens) <= self.limit

    def put(self, ids: NDArray[np.int64], saved: Any) -> None:
        """Keep the state after ``ids``, if :meth:`takes` says so."""
        if not self.takes(len(ids)):
            return
        key = _key(ids)
        if (old := self._entries.pop(key, None)) is not None:
            self.used -= old.size
        self._entries[key] = _Entry(saved, len(ids), self._size(len(ids)))
        self.used += self._entries[key].size
        while self.used > self.limit:
            _, old = self._entries.popitem(last=False)
            self.used -= old.size


def _key(ids: NDArray[np.int64]) -> bytes:
    return hashlib.blake2b(_bytes(ids), digest_size=32).digest()


def _bytes(ids: NDArray[np.int64]) -> bytes:
    return ids.astype("<i8").tobytes()
