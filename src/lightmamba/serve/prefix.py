"""States after common beginnings of prompts, kept so that they are not computed again.

The state of a Mamba layer has the same size after one token and after a million; attention layers
keep every token, so that a saved state of a hybrid grows with its prompt.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "WORTH", "PrefixCache"]

BLOCK = 256  # tokens between two states that are kept while a prompt is read
WORTH = 32  # tokens: shorter beginnings are computed as fast as they are copied


@dataclass(frozen=True)
class _Entry:
    saved: Any
    length: int
    size: int


class PrefixCache:
    """Saved states by model and tokens, within a limit; the longest unused goes first.

    ``used`` is the memory of what is kept, ``on`` whether anything can be.

    Parameters
    ----------
    limit
        Bytes of all states; 0 keeps none.
    least
        Bytes of a state at least; a limit below keeps none.
    fingerprint
        Of the model; part of every key.
    size
        Bytes of the state after a number of tokens; ``least`` by default.
    """

    def __init__(
        self,
        limit: int,
        least: int,
        fingerprint: str,
        size: Callable[[int], int] | None = None,
    ) -> None:
        self.limit, self.used = limit, 0
        self.on = 0 < least <= limit
        self._size = size or (lambda tokens: least)
        self._start = hashlib.blake2b(fingerprint.encode(), digest_size=32)
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lengths: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def longest(self, ids: NDArray[np.int64]) -> tuple[int, Any] | None:
        """Tokens and state of the longest beginning of ``ids`` that is kept, or None."""
        key, done, found = self._start.copy(), 0, None
        for length in sorted(n for n in self._lengths if n <= len(ids)):
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
        key = self._key(ids)
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
        size = self._size(len(ids))
        key = self._key(ids)
        if (old := self._entries.pop(key, None)) is not None:
            self._forget(old)
        self._entries[key] = _Entry(saved, len(ids), size)
        self._lengths[len(ids)] += 1
        self.used += size
        while self.used > self.limit:
            _, old = self._entries.popitem(last=False)
            self._forget(old)

    def _forget(self, entry: _Entry) -> None:
        self.used -= entry.size
        self._lengths[entry.length] -= 1
        if not self._lengths[entry.length]:
            del self._lengths[entry.length]

    def _key(self, ids: NDArray[np.int64]) -> bytes:
        key = self._start.copy()
        key.update(_bytes(ids))
        return key.digest()


def _bytes(ids: NDArray[np.int64]) -> bytes:
    return ids.astype("<i8").tobytes()
