"""A layer kind: what the rest of the project asks of it, with defaults.

A folder of ``blocks`` has four modules, of which the second and the third may be missing:

=============== ==================================================================================
``arithmetic``  ``Sizes``, ``Mixer``, ``Arithmetic`` (:mod:`lightmamba.blocks.layer`) and
                ``Layer``, of :class:`Integers`: state of a sequence, random integers
``compiled``    the same by kernels: ``Struct``, ``Work``, ``Compiled`` and ``Layer``, of
                :class:`Kernels`; without it the engine runs the kind on numpy
``hardware``    ``Layer``, of :class:`~lightmamba.blocks.in_hardware.InHardware`: units, commands,
                memory, estimate and probes; without it ``compile`` refuses the kind
``floating``    ``Mixer``, the float module, and ``lower``, from it to integers (torch)
=============== ==================================================================================

A class says only what is not so by default.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import import_module, util
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.in_hardware import InHardware
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

        Of what grows, the bytes written; as many are read for each earlier token.
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
        """For random integers: gain of out_proj, and deviation of its integer inputs.

        With that gain a layer adds little to the residual stream.
        """

    @abstractmethod
    def random_mixer(self, rng: np.random.Generator, sizes: Any, formats: Formats) -> Any:
        """Random integers of healthy ranges: everything of a layer but its projections."""


class Kernels(ABC):
    """A layer as the kernels take it."""

    def fits(self, sizes: Any) -> bool:
        """Whether the kernels take these sizes."""
        return True

    def transform_shift(self, mixer: Any) -> int:
        """Right shift after the online transform."""
        shift: int = mixer.exponents.hadamard_shift
        return shift

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

    @abstractmethod
    def observables(
        self,
        sizes: Any,
        arrays: Mapping[str, Array],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, Array]]:
        """Names and values of a layer that has just run, but those that every kind has.

        ``arrays`` begin with (batch, seqlen), ``state`` with (batch,); ``position`` (batch,) is
        from before these tokens.
        """


class Kind:
    """A layer kind by its folder; each module is imported when it is asked for.

    Attributes
    ----------
    Sizes, Mixer, Arithmetic : type
        Classes of ``arithmetic``, as :mod:`lightmamba.blocks.layer` describes them.
    Struct, Work, Compiled : type
        Classes of ``compiled``: sizes and numbers of a layer, and addresses of what lies between
        its projections, as the kernels declare them; ``Arithmetic`` by single phases of them.
    floating : module
        ``Mixer``, the float module, and ``lower``, from it to integers (torch).
    """

    MODULES: ClassVar = {
        "Sizes": "arithmetic", "Mixer": "arithmetic", "Arithmetic": "arithmetic",
        "Struct": "compiled", "Work": "compiled", "Compiled": "compiled",
    }  # fmt: skip

    def __init__(self, package: str) -> None:
        self._package = package

    def __getattr__(self, name: str) -> Any:
        if name not in self.MODULES:
            raise AttributeError(f"a layer kind has no {name}")
        found = getattr(self._module(self.MODULES[name]), name)
        setattr(self, name, found)
        return found

    def _module(self, name: str) -> Any:
        return import_module(f"{self._package}.{name}")

    def _has(self, name: str) -> bool:
        return util.find_spec(f"{self._package}.{name}") is not None

    @cached_property
    def integers(self) -> Integers:
        """Numbers and arithmetic."""
        found: Integers = self._module("arithmetic").Layer()
        return found

    @property
    def has_kernels(self) -> bool:
        """Whether the engine has kernels for it; numpy runs the others."""
        return self._has("compiled")

    @cached_property
    def kernels(self) -> Kernels:
        """The same by the kernels."""
        found: Kernels = self._module("compiled").Layer()
        return found

    @property
    def has_hardware(self) -> bool:
        """Whether the accelerator has units for it; ``compile`` refuses the others."""
        return self._has("hardware")

    @cached_property
    def hardware(self) -> InHardware:
        """The accelerator's side."""
        found: InHardware = self._module("hardware").Layer()
        return found

    @property
    def floating(self) -> Any:
        """Module of the float arithmetic."""
        return self._module("floating")
