"""Single phases of a layer's kernels, for callers that go step by step."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.layer import Arithmetic
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["ByPhases", "Phases", "Run"]


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


class ByPhases(Arithmetic):
    """Arithmetic whose operations the kernels compute; the first base, before the kind's own.

    Parameters
    ----------
    mixer, formats
        Of one layer.
    phases : Phases
        Runs single phases of the layer.
    """

    def __init__(self, mixer: Any, formats: Formats, phases: Phases) -> None:
        super().__init__(mixer, formats)
        self.phases = phases

    def hadamard(self, x: Ints) -> tuple[Ints, int]:
        run = self.phases.begin(1, len(x))
        run.arrays["weighted"][:] = x
        lost = run(None)
        return run.arrays["mixed"], lost["hadamard"]
