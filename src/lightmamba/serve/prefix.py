"""States after common beginnings of prompts, kept so that they are not computed again.

The state of a Mamba model has the same size after one token and after a million, so a saved state
costs what one sequence costs, however long the prompt was.
"""

import hashlib
from collections import Counter, OrderedDict
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


class PrefixCache:
    """Saved states by model and tokens, within a limit; the longest unused goes first.

    Parameters
    ----------
    limit
        Bytes of all states; 0 keeps none.
    size
        Bytes of one state.
    fingerprint
        Of the model; part of every key.
    """

    def __init__(self, limit: int, size: int, fingerprint: str) -> None:
        self.most, self.size = limit // max(1, size), size
        self._start = hashlib.blake2b(fingerprint.encode(), digest_size=32)
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lengths: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def used(self) -> int:
        """Memory of what is kept."""
        return len(self._entries) * self.size

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

    def put(self, ids: NDArray[np.int64], saved: Any) -> None:
        """Keep the state after ``ids``."""
        if not self.most:
            return
        key = self._key(ids)
        if key not in self._entries:
            self._lengths[len(ids)] += 1
        self._entries[key] = _Entry(saved, len(ids))
        self._entries.move_to_end(key)
        while len(self._entries) > self.most:
            _, old = self._entries.popitem(last=False)
            self._lengths[old.length] -= 1
            if not self._lengths[old.length]:
                del self._lengths[old.length]

    def _key(self, ids: NDArray[np.int64]) -> bytes:
        key = self._start.copy()
        key.update(_bytes(ids))
        return key.digest()


def _bytes(ids: NDArray[np.int64]) -> bytes:
    return ids.astype("<i8").tobytes()
