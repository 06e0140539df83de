"""Single phases of a layer's kernels, for callers that go step by step."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Phases", "Run"]


class Run(Protocol):
    """Arrays and state of one call, to be filled and read."""

    arrays: Mapping[str, NDArray[Any]]  # (vectors, ...): everything between two residual streams
    state: Mapping[str, NDArray[Any]]  # (batch, ...), zeros at first

    def __call__(self, phase: int | None) -> Mapping[str, int]:
        """Run a phase of the kind, or the online transform (None); what saturated, by kind."""


class Phases(Protocol):
    """The kernels of one layer."""

    def begin(self, batch: int, seqlen: int, position: NDArray[np.int64] | None = None) -> Run:
        """Prepare a call for ``batch`` sequences of ``seqlen`` tokens, from a position each."""
