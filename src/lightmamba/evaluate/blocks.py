"""Means over the tokens of a text, and their errors, from sums over blocks of tokens."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "BlockSums"]

BLOCK = 128  # tokens per block of the standard error


@dataclass(frozen=True, eq=False)
class BlockSums:
    """A quantity of many tokens, summed by block: what a mean and its error need of it.

    Attributes
    ----------
    sizes : (blocks,) int64
        Tokens of each block.
    sums : (blocks,) float64
        Of the quantity.
    spreads : (blocks,) float64
        Of the squared distances from the mean of the block.
    """

    sizes: NDArray[np.int64]
    sums: NDArray[np.float64]
    spreads: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "BlockSums":
        """Sum up (sequences, tokens) values in blocks of up to ``BLOCK`` within one sequence."""
        count, tokens = values.shape
        starts = np.arange(0, tokens, BLOCK)
        sizes = np.diff(np.append(starts, tokens))
        sums = np.add.reduceat(values, starts, axis=1)
        away = np.square(values - np.repeat(sums / sizes, sizes, axis=1))
        spreads = np.add.reduceat(away, starts, axis=1)
        return cls(np.tile(sizes, count), sums.ravel(), spreads.ravel())

    @classmethod
    def join(cls, parts: Iterable["BlockSums"]) -> "BlockSums":
        """Put blocks one after the other."""
        columns = zip(*((p.sizes, p.sums, p.spreads) for p in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def plain(self) -> dict[str, list[Any]]:
        """As JSON has it; nothing is rounded."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def from_plain(cls, record: dict[str, list[Any]]) -> "BlockSums":
        """Read what ``plain`` gave."""
        return cls(
            np.array(record["sizes"], np.int64),
            np.array(record["sums"], np.float64),
            np.array(record["spreads"], np.float64),
        )

    @classmethod
    def kept(cls, records: Iterable[Mapping[str, Any]], name: str) -> "BlockSums":
        """Put together what the records of an evaluation keep as ``name``."""
        return cls.join(cls.from_plain(record[name]) for record in records)

    @property
    def count(self) -> int:
        """Tokens."""
        return int(self.sizes.sum())

    @property
    def total(self) -> float:
        """Sum over the tokens."""
        return float(self.sums.sum())

    @property
    def mean(self) -> float:
        """Mean over the tokens."""
        return self.total / self.count

    def standard_error(self) -> float:
        """Estimate the error of the mean of values that are correlated with their neighbours.

        Tokens of one passage are hard or easy together, so blocks of them are the independent
        samples: with sums S and sizes n of B blocks and the mean m of all N values, the variance of
        m is B / (B − 1) · Σ (S − m·n)² / N² (the ratio estimator, which allows for shorter blocks).
        What correlation there is between neighbouring blocks is not seen. With one block only,
        every value counts as its own.

        Raises
        ------
        ValueError
            If there are fewer than two values.
        """
        if self.count < 2:
            raise ValueError("one value has no standard error")
        if len(self.sums) > 1:
            samples = len(self.sums)
            spread = float(np.square(self.sums - self.mean * self.sizes).sum())
        else:
            samples, spread = self.count, float(self.spreads[0])
        return math.sqrt(spread * samples / (samples - 1)) / self.count
