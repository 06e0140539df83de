"""What a sequence leaves behind: convolution inputs, the SSM state, the position.

The SSM state lies in tiles of up to 16 rows of headdim, side by side, as the compiled kernels walk
it; :meth:`State.natural` gives it in the order of its axes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine.arena import Arena
from lightmamba.qmodel import QuantizedModel

__all__ = ["State", "natural", "put_natural"]

TILE = 16  # rows of headdim side by side, where they divide it
T = TypeVar("T", bound=np.generic)


@dataclass
class State:
    """State of ``batch`` sequences; plain arrays, to be saved, copied and compared."""

    conv: list[NDArray[np.int8]]  # per layer (batch, d_conv - 1, conv_dim)
    h: list[NDArray[Any]]  # per layer (batch, nheads, tiles, d_state padded, rows), int8 or int16
    h_exp: list[NDArray[np.uint8]]  # per layer (batch, nheads, tiles, d_state / block, rows)
    position: NDArray[np.int64]  # (batch,), tokens seen; the dither depends on it

    @staticmethod
    def empty(model: QuantizedModel, batch: int) -> "State":
        """State of sequences that have not begun."""
        c, f = model.config, model.formats
        d_state = f.padded_state(c)
        blocks = d_state // f.ssm(c).block
        rows = math.gcd(TILE, c.headdim)
        tiles = c.headdim // rows
        wide = np.int8 if f.state_bits == 8 else np.int16

        arena = Arena(1)  # one block of memory for each part

        def zeros(kind: type[T], *shape: int) -> list[NDArray[T]]:
            return list(arena.array((c.n_layer, batch, *shape), kind))

        return State(
            conv=zeros(np.int8, c.d_conv - 1, c.conv_dim),
            h=zeros(wide, c.nheads, tiles, d_state, rows),
            h_exp=zeros(np.uint8, c.nheads, tiles, blocks, rows),
            position=np.zeros(batch, dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.position)

    def natural(self, layer: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Copies of h (batch, nheads, headdim, d_state) and h_exp of one layer."""
        return natural(self.h[layer]), natural(self.h_exp[layer])

    def fork(self) -> "State":
        """Copy that goes its own way: feeding tokens changes the state that is fed."""
        return self.take(slice(None))

    def take(self, rows: slice | NDArray[np.int64]) -> "State":
        """Copy of some of the sequences; by numbers, in any order, and one several times."""
        return self._map(lambda x: x[rows].copy())

    def view(self, rows: slice) -> "State":
        """Some of the sequences themselves: what is written there is written here."""
        return self._map(lambda x: x[rows])

    def _map(self, change: Callable[[Any], Any]) -> "State":
        return State(
            conv=[change(x) for x in self.conv],
            h=[change(x) for x in self.h],
            h_exp=[change(x) for x in self.h_exp],
            position=change(self.position),
        )

    @staticmethod
    def join(parts: "list[State]") -> "State":
        """Put sequences side by side again."""

        def side_by_side(layers: list[list[NDArray[T]]]) -> list[NDArray[T]]:
            return [np.concatenate(layer) for layer in zip(*layers, strict=True)]

        return State(
            conv=side_by_side([p.conv for p in parts]),
            h=side_by_side([p.h for p in parts]),
            h_exp=side_by_side([p.h_exp for p in parts]),
            position=np.concatenate([p.position for p in parts]),
        )


def natural(tiled: NDArray[T]) -> NDArray[T]:
    """(batch, nheads, tiles, width, rows) to (batch, nheads, headdim, width), copied."""
    batch, nheads, tiles, width, rows = tiled.shape
    return tiled.swapaxes(-1, -2).reshape(batch, nheads, tiles * rows, width)


def put_natural(tiled: NDArray[Any], value: NDArray[Any]) -> None:
    """Write (batch, nheads, headdim, width) values into an array of tiles."""
    view = tiled.swapaxes(-1, -2)
    view[...] = value.reshape(view.shape)
