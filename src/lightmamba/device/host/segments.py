"""Segments of memory by which sequences on a device grow, of a pool that they share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import PAGE, WORD
from lightmamba.arch.place import Region
from lightmamba.arch.spread import rows, segment_bytes, spread
from lightmamba.common.errors import InputError

__all__ = ["Pool", "Segments"]

Bytes = NDArray[np.uint8]


@dataclass
class Pool:
    """Segments of a client that is spread over the lanes; each has a part on every channel.

    Parameters
    ----------
    arch : ArchConfig
    regions : {region of the build: Region}
        One for each lane; a segment begins at the same offset in all of them.
    runs, stride, words : int
        Runs of positions of all layers; bytes of a run in a segment, on a channel; 64-bit words of
        a position.

    Attributes
    ----------
    free : list of int
        Segments that no sequence has, the next one last.
    """

    arch: ArchConfig
    regions: Mapping[str, Region]
    runs: int
    stride: int
    words: int
    free: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.free = list(range(self.count))[::-1]

    @property
    def bytes(self) -> int:
        """Bytes of a segment on a channel."""
        return segment_bytes(self.runs, self.stride)

    @property
    def count(self) -> int:
        """Segments that there are."""
        size = min(region.bytes for region in self.regions.values())
        return size // self.bytes if self.bytes else 0

    def check(self, lacks: int) -> None:
        """Refuse a number of segments that are not free.

        Raises
        ------
        InputError
            With how many are, and what helps.
        """
        if lacks > len(self.free):
            raise InputError(
                f"sequences need {lacks} more of the segments of "
                f"{min(self.arch.segment, self.arch.context):,} tokens, but {len(self.free)} of "
                f"{self.count} are free; end another sequence, or compile with a larger --sequences"
            )


@dataclass
class Segments:
    """Segments of a sequence, in the order of its positions.

    Parameters
    ----------
    pool : Pool
    held : list of int
    """

    pool: Pool
    held: list[int] = field(default_factory=list)

    def wanted(self, positions: int) -> int:
        """Segments that a number of positions takes."""
        return -(-positions // self.pool.arch.segment) if self.pool.runs else 0

    def lacks(self, positions: int) -> int:
        """Segments that are missing for a number of positions."""
        return max(0, self.wanted(positions) - len(self.held))

    def fit(self, positions: int) -> None:
        """Hold as many as a number of positions takes, and give the others back.

        The pool has what is missing.
        """
        self.held += [self.pool.free.pop() for _ in range(self.lacks(positions))]
        while len(self.held) > self.wanted(positions):
            self.pool.free.append(self.held.pop())

    @property
    def places(self) -> list[int]:
        """Where they begin in each region, in pages of 4 KiB."""
        return [segment * self.pool.bytes // PAGE for segment in self.held]

    def used(self, positions: int) -> dict[str, tuple[Region, ...]]:
        """Rows of each run that hold the first ``positions`` tokens, by region of the build."""
        pool, size = self.pool, self.pool.arch.segment
        pieces = [
            (segment * pool.bytes + run * pool.stride, rows(pool.arch, pool.words, count))
            for run in range(pool.runs)
            for segment, at in zip(self.held, range(0, positions, size), strict=False)
            for count in [min(size, positions - at)]
        ]
        beat = pool.arch.port_bits // 8
        return {
            name: tuple(
                replace(region, address=region.address + at, bytes=count * beat)
                for at, count in pieces
            )
            for name, region in pool.regions.items()
        }

    def sizes(self, positions: int) -> dict[str, int]:
        """Bytes of the rows of the first ``positions`` tokens, by region of the build."""
        pool = self.pool
        count = pool.runs * rows(pool.arch, pool.words, positions)
        return dict.fromkeys(pool.regions, count * (pool.arch.port_bits // 8))

    def kept(self, memory: Mapping[str, Bytes], positions: int) -> dict[str, Bytes]:
        """Bytes of these rows by region, with zeros in place of what longer sequences left."""
        sizes = (WORD, (self.pool.words - 1) * WORD)
        ones = [np.full((1, positions, size), 255, np.uint8) for size in sizes]
        masks = spread(self.pool.arch, next(iter(self.pool.regions)), *ones)
        # Runs are alike, and of no positions there is nothing.
        return {
            name: (memory[name].reshape(-1, max(1, mask.size)) & mask).ravel()
            for name, mask in masks.items()
        }
