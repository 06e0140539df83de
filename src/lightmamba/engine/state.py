"""What a sequence leaves behind: convolution inputs, the SSM state, the position."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.qmodel import QuantizedModel

__all__ = ["State"]

T = TypeVar("T", bound=np.generic)


@dataclass
class State:
    """State of ``batch`` sequences; plain arrays, to be saved, copied and compared."""

    conv: list[NDArray[np.int8]]  # per layer (batch, d_conv - 1, conv_dim)
    h: list[NDArray[np.int16]]  # per layer (batch, nheads, headdim, d_state), padded
    h_exp: list[NDArray[np.uint8]]  # per layer (batch, nheads, headdim, d_state / block)
    position: NDArray[np.int64]  # (batch,), tokens seen; the dither depends on it

    @staticmethod
    def empty(model: QuantizedModel, batch: int) -> "State":
        """State of sequences that have not begun."""
        c, f = model.config, model.formats
        d_state = f.padded_state(c)
        blocks = d_state // f.ssm(c).block

        def zeros(kind: type[T], *shape: int) -> list[NDArray[T]]:
            return [np.zeros((batch, *shape), dtype=kind) for _ in range(c.n_layer)]

        return State(
            conv=zeros(np.int8, c.d_conv - 1, c.conv_dim),
            h=zeros(np.int16, c.nheads, c.headdim, d_state),
            h_exp=zeros(np.uint8, c.nheads, c.headdim, blocks),
            position=np.zeros(batch, dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.position)

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
