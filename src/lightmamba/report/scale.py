"""Axes: from values to places on paper, and where their ticks stand."""

import math
from dataclasses import dataclass

__all__ = ["Scale"]

STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """Map low..high to start..end, evenly or by ratios.

    Parameters
    ----------
    low, high : float
        Values at the two ends.
    start, end : float
        Their places; ``start`` may be above ``end``, as on an upright axis.
    log : bool
        Equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"an axis from {self.low} to {self.high} has no length")

    def __call__(self, value: float) -> float:
        """Place of a value; values beyond the ends stand at them."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether a value lies between the ends."""
        return self.low <= value <= self.high

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the ends: at least two, and not many more than ``most``."""
        if self.log and self.high >= 10 * self.low:
            return self._ratios(most)
        rough = (self.high - self.low) / most
        size = 10.0 ** math.floor(math.log10(rough))
        n = next(n for n, step in enumerate(STEPS) if size * step >= rough * (1 - 1e-9))
        found = self._every(size * STEPS[n])
        return found if len(found) > 2 else self._every(size * STEPS[n] / 2)

    def _every(self, step: float) -> list[float]:
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]

    def _ratios(self, most: int) -> list[float]:
        first = math.floor(math.log10(self.low))
        decades = range(first, math.ceil(math.log10(self.high)) + 1)
        for parts in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
            found = [p * 10.0**d for d in decades for p in parts if self.holds(p * 10.0**d)]
            if 2 <= len(found) <= most:
                return found
        return found[:: -(-len(found) // most)]
