"""A layer kind in the accelerator: what compiler, estimate and simulator ask of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.cells import Group
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import GROUP
from lightmamba.arch.fields import KIND, Field
from lightmamba.arch.hardware import Element, Hardware, Shown, Stream, Unit
from lightmamba.arch.records import Found, Taken, carried, coded, named
from lightmamba.arch.steps import Table
from lightmamba.arch.target import Target
from lightmamba.blocks.layer import out_channels
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["BLOCKED", "NORMLESS", "InHardware", "Layer", "Seen", "Written"]

Array = NDArray[Any]
Commands = Mapping[str, Mapping[str, int]]  # of units, each a value per field
Counts = Mapping[str, int]  # sizes of the machine's graph
NONE: Mapping[str, Any] = MappingProxyType({})

BLOCKED = (  # payload of channels in blocks: x, B and C of Mamba2, q, k and v of attention
    Field("kind", KIND, "of in_proj's rows"),
    Field("q", 8, "its value", signed=True),
    Field("exp", 4, "exponent of its block"),
)
NORMLESS = Hardware(  # of the kinds without a norm in front of out_proj: a constant for its 1/rms
    units=(
        Unit("unit_rms", "rms:UnitRms", "1/rms of one, for out_proj", steps="one",
             shows=(Shown("unit_rms", "o", (
                 Element("mantissa", "u2", observable="rms"),
                 Element("j", "i1", observable="rms_shift"))),)),
    ),
    streams=(
        Stream("unit_rms", "unit_rms.o", "epilogue.i_rms_out", "RMS", "1/rms of one", "one"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Written:
    """An instruction: its name, "in_proj" or one of the kind's own, and commands of its units.

    ``again``: how often the one before and this one are carried out once more.
    """

    name: str
    commands: Commands
    again: int = 0


class Layer(Protocol):
    """Numbers of a layer, and commands of the units that every kind has, by the compiler.

    Fields of commands that are named replace those that they would have.
    """

    sizes: Any
    mixer: Commands  # of the kind's own units
    blocks: Mapping[str, int]  # places of weights that are chosen while a token runs
    halved: bool  # whether in_proj meets the upper halves of the activations that are stored

    def router(self, rows: int, **fields: Mapping[str, int]) -> Commands:
        """Commands of an instruction with the matrix ``router``, whose rows are of that kind."""

    def in_proj(self, **fields: Mapping[str, int]) -> Commands:
        """Commands of an instruction with in_proj, or with a block of it."""

    def add(self, **fields: Mapping[str, int]) -> Commands:
        """Command of the lanes alone, with out_proj, or with a block of it."""


@dataclass(frozen=True)
class Seen:
    """A layer that the probes have seen in a token.

    Parameters
    ----------
    at : str
        Its name.
    sizes, formats
        Of the layer.
    take
        Gives the next records of each probe.
    rows : (block_rows,)
        Row of in_proj, in its natural order, that was computed at each place.
    kinds : {name: number}
        Of rows, as the probes have them.
    d_model : int
    """

    at: str
    sizes: Any
    formats: Formats
    take: Taken
    rows: Ints
    kinds: Mapping[str, int]
    d_model: int

    @property
    def channels(self) -> int:
        """Channels of the input of out_proj."""
        return out_channels(self.sizes, self.formats)

    @property
    def entering(self) -> Found:
        """The norm in front of the layer, and its quantized input."""
        yield from carried(f"{self.at}.in_proj", self.take("rms_in", 1))
        given = self.take.items("quant_in", self.formats.in_channels(self.d_model))
        yield from coded(f"{self.at}.in_proj", given, self.formats.block)

    @property
    def mixed(self) -> Found:
        """The input of out_proj, which the Hadamard unit gives."""
        return carried(self.at, self.take("hadamard", self.channels))

    @property
    def leaving(self) -> Found:
        """Rows of out_proj, and the residual stream after the layer."""
        rows = self.take("out rows", self.d_model)
        yield from named(f"{self.at}.out_proj.rows", rows, "value", 2)
        yield from carried(self.at, self.take.items("residual", self.d_model))


class InHardware(ABC):
    """A layer in the accelerator: its units, what they do in it, and its memory.

    Attributes
    ----------
    graph : Hardware
        Units, streams, commands, kinds of rows and clients of memory.
    groups : tuple of Group
        Cells of the units, for the area model.
    searched : {choice: values}
        Choices of a target that ``explore`` searches where a model has such layers.
    steps : {unit: function}
        Steps of units where they do not follow from the graph: a function of the work, the layer's
        sizes and those of the graph.
    history : type or None
        Makes records whole where probes show less of a token in a pass of several than of one
        alone, as :class:`lightmamba.blocks.mamba2.observed.Pass` does.
    """

    graph: ClassVar[Hardware]
    groups: ClassVar[tuple[Group, ...]] = ()
    searched: ClassVar[Mapping[str, tuple[int, ...]]] = NONE
    steps: ClassVar[Mapping[str, Callable[[Any, Any, Counts], Table]]] = NONE
    history: ClassVar[Any] = None

    # The compiler: what a layer needs, and its commands.

    def capacities(self, sizes: Any) -> dict[str, int]:
        """Build parameters that a layer needs besides those of its projections."""
        return {}

    def refusals(self, sizes: Any, formats: Formats) -> Iterator[str]:
        """Reasons why the hardware cannot run a layer."""
        yield from ()

    def queues(self, sizes: Any, target: Target, order: str) -> Iterator[str]:
        """Queues of a target that are too short for a layer."""
        yield from ()

    @abstractmethod
    def job_sizes(self, sizes: Any, arch: ArchConfig) -> dict[str, int]:
        """Sizes of the jobs of a layer, by the names of the graph."""

    def in_sections(self, sizes: Any, order: str) -> list[tuple[str, int]]:
        """Kinds of the rows of in_proj in the order in which they come, and how many of each.

        Two kinds, as ``x|z``, are rows that alternate.
        """
        return [(name, part.stop - part.start) for name, part in sizes.sections().items()]

    def row_kinds(self, sizes: Any, order: str) -> Ints:
        """Kind of every row of in_proj, (block_rows,), in the order in which they come.

        The number of a kind is its place in the graph's ``rows``.
        """
        names = [row.name for row in self.graph.rows]
        found = np.empty(sizes.block_rows, np.int64)
        for name, place in sizes.sections().items():
            found[place] = names.index(name)
        return found[self.row_order(sizes, order)]

    @abstractmethod
    def commands(self, mixer: Any, formats: Formats, arch: ArchConfig) -> dict[str, dict[str, int]]:
        """Commands of the units between in_proj and the quantizer of out_proj's input."""

    def written(self, layer: Layer) -> Iterator[Written]:
        """Instructions of a layer in front of that of out_proj."""
        yield Written("in_proj", layer.in_proj())

    def length(self, sizes: Any) -> int:
        """Instructions of a layer in the program, that of out_proj included."""
        return 2

    def carried_out(self, sizes: Any) -> tuple[tuple[str, str], ...]:
        """Instructions of a layer in a token: the name of each, and of the lanes' matrix."""
        return ("in_proj", "in_proj"), ("out_proj", "out_proj")

    def transform(self, mixer: Any, formats: Formats) -> dict[str, dict[str, int]]:
        """Command of the online Hadamard transform in front of out_proj."""
        groups = mixer.sizes.out_groups
        dim = mixer.sizes.out_dim // groups
        return {
            "hadamard": {
                "groups": groups,
                "group_dim": dim,
                "pad": formats.transform.padded(dim) - dim,
                "order_log2": formats.transform.size(dim).bit_length() - 1,
                "shift": mixer.exponents.hadamard_shift,
            }
        }

    def too_wide(self, sizes: Any, formats: Formats, what: str) -> Iterator[str]:
        """Refuse a transform of all of ``what`` that is larger than the hardware's."""
        if (order := formats.transform.size(sizes.out_dim // sizes.out_groups)) > GROUP:
            yield (
                f"the model's Hadamard transform has order {order} ({what}), but that of the "
                f"hardware at most {GROUP}; quantize with hadamard {GROUP}"
            )

    # The memory of a layer.

    def row_order(self, sizes: Any, order: str) -> Ints:
        """Row of in_proj, in the natural order, that comes at each place, (block_rows,)."""
        return np.arange(sizes.block_rows)

    def parameters(self, mixer: Any, rows: Ints) -> dict[str, NDArray[np.uint64]]:
        """Words of each static stream; ``rows`` is the order of the rows of in_proj."""
        return {}

    def words(self, sizes: Any, arch: ArchConfig) -> dict[str, int]:
        """64-bit words of each client of the shape LAYER, and of a row of each TABLE.

        Those of other clients are the items of their streams.
        """
        return {}

    def runs(self, sizes: Any) -> dict[str, int]:
        """Runs of positions of each client in a layer, where there are several."""
        return {}

    def heads(self, sizes: Any, arch: ArchConfig) -> tuple[int, int]:
        """Heads of a layer's state, which lie in memory one by one, and elements of each."""
        return 0, 0

    def registers(self, sizes: Any) -> dict[str, int]:
        """Registers of which the hardware has one for all layers of this kind."""
        return {}

    def state_bytes(
        self, sizes: Any, order: str, state: Mapping[str, Array], arch: ArchConfig
    ) -> dict[str, NDArray[np.uint8]]:
        """A layer's state of one sequence as it lies in the regions of its clients.

        Parameters
        ----------
        sizes, order
            Of the layer, and of the rows of in_proj.
        state
            Arrays of the engine: of ``state`` and, by position, of ``tokens``.
        arch
            The machine.
        """
        return {}

    # The estimate.

    def cycles(self, work: Any, sizes: Any, counts: Counts) -> dict[str, int]:
        """Cycles in which units have something to do that takes other than a step each."""
        return {}

    def depths(self, sizes: Any) -> dict[str, int]:
        """Depths of queues with which no layer waits for itself."""
        return {}

    # The simulator's probes.

    def observed_layer(self, seen: Seen) -> Found:
        """Name, values and cycles of all observables of a layer, in the engine's order.

        Raises
        ------
        ValueError
            If a probe saw fewer records than the token has.
        """
        at, sizes, take = seen.at, seen.sizes, seen.take
        yield from seen.entering
        in_rows = take("in rows", sizes.in_rows).take(np.argsort(seen.rows))
        yield from named(f"{at}.in_proj.rows", in_rows, "value", 2)
        yield from self.observed(seen)
        rms = "rms_out" if sizes.out_normed else "unit_rms"
        yield from carried(f"{at}.out_proj", take(rms, sizes.out_groups))
        yield from coded(f"{at}.out_proj", take("quant_out", seen.channels), seen.formats.block)
        yield from seen.leaving

    @abstractmethod
    def observed(self, seen: Seen) -> Found:
        """Name, values and cycles of all between in_proj and out_proj, in the engine's order.

        Raises
        ------
        ValueError
            If a probe saw fewer records than the token has.
        """
