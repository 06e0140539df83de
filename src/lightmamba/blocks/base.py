"""A layer kind: what the rest of the project asks of it, with defaults.

A folder of ``blocks`` has these modules. The last two may be missing: a model with such a layer
then does not run on the accelerator, or has no float model.

=============== ==================================================================================
``arithmetic``  ``Sizes``, ``Mixer``, ``Arithmetic`` (:mod:`lightmamba.blocks.layer`) and
                ``Integers``: state of a sequence, random integers
``compiled``    ``Kernels``: the same arithmetic, in ``kernels.hpp``
``hardware``    ``InHardware`` (:mod:`lightmamba.blocks.in_hardware`): units, commands, memory,
                estimate and probes
``floating``    ``Mixer``, the float module, and ``lower``, from it to integers (torch)
=============== ==================================================================================

A class says only what is not so by default.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module, util
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.in_hardware import InHardware
from lightmamba.blocks.layer import Rms, hadamard_shift, unit_rms
from lightmamba.numerics.model_formats import Formats

__all__ = ["Arrays", "Integers", "Kernels", "Kind"]

Array = NDArray[Any]
Arrays = dict[str, tuple[Any, tuple[int, ...]]]  # type and shape of arrays by name


class Integers(ABC):
    """Numbers and arithmetic of a layer.

    Attributes
    ----------
    losses : tuple of str
        Kinds of saturation that its arithmetic counts.
    """

    losses: ClassVar[tuple[str, ...]] = ("hadamard",)

    def state(self, sizes: Any, formats: Formats) -> Arrays:
        """Arrays of a sequence that do not grow, all zero when it begins."""
        return {}

    def tokens(self, sizes: Any, formats: Formats) -> Arrays:
        """Arrays that every token of a sequence adds."""
        return {}

    def record(self, sizes: Any, formats: Formats) -> Arrays:
        """Arrays of an undecided token, from which the state is updated once it is accepted."""
        return {}

    def bytes_per_token(self, sizes: Any, formats: Formats) -> dict[str, int]:
        """Bytes of the state that a decoder moves per token, by what they are.

        Arrays that grow count with the bytes written; as many are read for each earlier token.
        """
        return {}

    def float_values(self, sizes: Any) -> int:
        """Values of the state of a sequence in the float model, or of a token if it grows."""
        return 0

    def float_chunk(self, sizes: Any, vectors: int) -> int:
        """Values per vector of the float model besides those of the projections."""
        return 0

    @abstractmethod
    def output(self, sizes: Any, formats: Formats) -> tuple[float, float]:
        """Gain of out_proj and deviation of its integer inputs, for random layers.

        With that gain a layer adds little to the residual stream.
        """

    def mixed(
        self, sizes: Any, formats: Formats, typical: float, exponent: int
    ) -> tuple[float, float]:
        """``output`` of a layer whose transform mixes all its channels.

        ``typical`` is the root mean square of a channel in front of it where rows of in_proj are
        normal with a deviation of one, ``exponent`` that of its integers.
        """
        order, shift = formats.transform.size(sizes.out_dim), hadamard_shift(sizes, formats)
        gain = 0.4 / (typical * math.sqrt(order * sizes.out_dim))
        return gain, typical * math.sqrt(order) * 2.0 ** -(exponent + shift)

    @abstractmethod
    def random_mixer(self, rng: np.random.Generator, sizes: Any, formats: Formats) -> Any:
        """Random integers of healthy ranges: everything of a layer but its projections."""


class Kernels(ABC):
    """A layer as the kernels take it.

    Attributes
    ----------
    Work : type of ctypes.Structure or None
        Addresses of the arrays of ``work``; None if there are none.
    phases : int
        Phases of the mixer in a pass (``IN_A_PASS`` of ``kernels.hpp``).
    """

    Work: ClassVar[Any] = None
    phases: ClassVar[int] = 1

    def fits(self, sizes: Any) -> bool:
        """Whether the kernels take these sizes."""
        return True

    @abstractmethod
    def describe(
        self,
        mixer: Any,
        formats: Formats,
        tables: int,
        at: Mapping[str, int],
        keep: Callable[[Any], int],
    ) -> Any:
        """Struct of one layer.

        Parameters
        ----------
        mixer, formats
            Of the layer.
        tables : int
            Address of the tables.
        at : {name: bytes}
            Where each array of the state lies.
        keep
            Copies values to int32 that stay, and gives their address.
        """

    def work(self, sizes: Any, formats: Formats) -> Arrays:
        """Arrays per vector between the projections that only this kind has."""
        return {}

    def rms(self, mixer: Any, arrays: Mapping[str, Array]) -> Rms:
        """1/rms of the input of out_proj, from the arrays of a layer that has just run."""
        return unit_rms(len(arrays["rows"]))


class Kind:
    """A layer kind by its folder; each module is imported when it is asked for.

    A property of a module that the folder lacks raises ``ModuleNotFoundError``.
    """

    def __init__(self, package: str) -> None:
        self._package = package

    def _module(self, name: str) -> Any:
        return import_module(f"{self._package}.{name}")

    @cached_property
    def Sizes(self) -> Any:
        """Class of the sizes of a layer (:class:`lightmamba.blocks.layer.Sizes`)."""
        return self._module("arithmetic").Sizes

    @cached_property
    def Mixer(self) -> Any:
        """Class of the integers of a mixer (:class:`lightmamba.blocks.layer.Mixer`)."""
        return self._module("arithmetic").Mixer

    @cached_property
    def Arithmetic(self) -> Any:
        """Class of the arithmetic (:class:`lightmamba.blocks.layer.Arithmetic`)."""
        return self._module("arithmetic").Arithmetic

    @cached_property
    def integers(self) -> Integers:
        """State of a sequence, losses, and random integers."""
        found: Integers = self._module("arithmetic").Integers()
        return found

    @cached_property
    def has_kernels(self) -> bool:
        """Whether the kernels take it; a model with a kind that they do not take runs on numpy."""
        return util.find_spec(f"{self._package}.compiled") is not None

    @cached_property
    def kernels(self) -> Kernels:
        """Kernels of the kind."""
        found: Kernels = self._module("compiled").Kernels()
        return found

    @cached_property
    def has_hardware(self) -> bool:
        """Whether the accelerator has units for it; ``compile`` refuses the others."""
        return util.find_spec(f"{self._package}.hardware") is not None

    @cached_property
    def hardware(self) -> InHardware:
        """Hardware of the kind."""
        found: InHardware = self._module("hardware").InHardware()
        return found

    @property
    def floating(self) -> Any:
        """Module of the float arithmetic."""
        return self._module("floating")
