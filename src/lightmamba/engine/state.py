"""What a sequence leaves behind: convolution inputs, the SSM state, the position.

The SSM state lies in tiles of up to 16 rows of headdim, side by side, as the compiled kernels walk
it; :meth:`State.natural` gives it in the order of its axes.
"""

import math
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
    """State of ``batch`` sequences; plain arrays, to be saved, copied and compared.

    Every array but the position has the layers as its first axis.
    """

    conv: NDArray[np.int8]  # (n_layer, batch, d_conv - 1, conv_dim)
    h: NDArray[Any]  # (n_layer, batch, nheads, tiles, d_state padded, rows), int8 or int16
    h_exp: NDArray[np.uint8]  # (n_layer, batch, nheads, tiles, d_state / block, rows)
    position: NDArray[np.int64]  # (batch,), tokens seen; the dither depends on it

    @staticmethod
    def empty(model: QuantizedModel, batch: int) -> "State":
        """State of sequences that have not begun."""
        c, f = model.config, model.formats
        d_state, rows = f.padded_state(c), math.gcd(TILE, c.headdim)
        tiles, blocks = c.headdim // rows, d_state // f.ssm(c).block
        arena = Arena(1)  # memory for each part alone
        return State(
            conv=arena.array((c.n_layer, batch, c.d_conv - 1, c.conv_dim), np.int8),
            h=arena.array(
                (c.n_layer, batch, c.nheads, tiles, d_state, rows),
                np.int8 if f.state_bits == 8 else np.int16,
            ),
            h_exp=arena.array((c.n_layer, batch, c.nheads, tiles, blocks, rows), np.uint8),
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

        def copied(x: Any) -> Any:
            return x[:, rows].copy()

        return State(
            copied(self.conv), copied(self.h), copied(self.h_exp), self.position[rows].copy()
        )

    def view(self, rows: slice) -> "State":
        """Some of the sequences themselves: what is written there is written here."""
        return State(self.conv[:, rows], self.h[:, rows], self.h_exp[:, rows], self.position[rows])

    @staticmethod
    def join(parts: "list[State]") -> "State":
        """Put sequences side by side again."""
        return State(
            conv=np.concatenate([p.conv for p in parts], axis=1),
            h=np.concatenate([p.h for p in parts], axis=1),
            h_exp=np.concatenate([p.h_exp for p in parts], axis=1),
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
