"""What sequences leave behind: a run of bytes each, of which every layer has its part."""

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import part
from lightmamba.blocks.sizes import Sizes
from lightmamba.formats import Formats
from lightmamba.native.arena import LINE, Arena
from lightmamba.qmodel import QuantizedModel

__all__ = ["Layout", "Place", "State"]


@dataclass(frozen=True)
class Place:
    """One array of one layer within the bytes of a sequence."""

    start: int
    dtype: Any
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Layout:
    """Where each layer's arrays lie; every one begins at a multiple of 64 bytes."""

    layers: tuple[dict[str, Place], ...]
    size: int  # bytes of a sequence

    @staticmethod
    def of(model: QuantizedModel) -> "Layout":
        """Layout of a model's states."""
        return _layout(model.config.layers, model.formats)

    @staticmethod
    def of_layers(layers: tuple[Sizes, ...], formats: Formats) -> "Layout":
        """Layout of some layers alone."""
        return _layout(layers, formats)


@lru_cache(maxsize=64)
def _layout(layers: tuple[Sizes, ...], formats: Formats) -> Layout:
    at, found = 0, []
    for sizes in layers:
        places = {}
        for name, (dtype, shape) in part(sizes.kind, "state").state(sizes, formats).items():
            places[name] = Place(at, dtype, shape)
            at += -(-places[name].size // LINE) * LINE
        found.append(places)
    return Layout(tuple(found), at)


@dataclass
class State:
    """State of ``batch`` sequences; plain bytes, to be saved, copied and compared."""

    layout: Layout
    data: NDArray[np.uint8]  # (batch, bytes of a sequence)
    position: NDArray[np.int64]  # (batch,), tokens seen; the dither depends on it

    @staticmethod
    def empty(model: QuantizedModel, batch: int) -> "State":
        """State of sequences that have not begun."""
        layout = Layout.of(model)
        data = Arena(1).array((batch, layout.size), np.uint8)
        return State(layout, data, np.zeros(batch, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.position)

    def layer(self, index: int) -> dict[str, NDArray[Any]]:
        """Arrays of one layer by name, (batch, ...) each; what is written there is written here."""
        found = {}
        for name, place in self.layout.layers[index].items():
            part_of = self.data[:, place.start : place.start + place.size]
            found[name] = part_of.view(place.dtype).reshape(len(self), *place.shape)
        return found

    def fork(self) -> "State":
        """Copy that goes its own way: feeding tokens changes the state that is fed."""
        return self.take(slice(None))

    def take(self, rows: slice | NDArray[np.int64]) -> "State":
        """Copy of some of the sequences; by numbers, in any order, and one several times."""
        position = self.position[rows].copy()
        data = Arena(1).array((len(position), self.layout.size), np.uint8)
        data[...] = self.data[rows]
        return State(self.layout, data, position)

    def view(self, rows: slice) -> "State":
        """Some of the sequences themselves: what is written there is written here."""
        return State(self.layout, self.data[rows], self.position[rows])

    @staticmethod
    def join(parts: "list[State]") -> "State":
        """Put sequences side by side again."""
        layout, batch = parts[0].layout, sum(len(p) for p in parts)
        data = Arena(1).array((batch, layout.size), np.uint8)
        np.concatenate([p.data for p in parts], out=data)
        return State(layout, data, np.concatenate([p.position for p in parts]))
