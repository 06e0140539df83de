"""What a sequence leaves behind: convolution inputs, the SSM state, the position."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmamba.qmodel import QuantizedModel

__all__ = ["State"]


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

        def zeros(kind: type, *shape: int) -> list[NDArray]:
            return [np.zeros((batch, *shape), dtype=kind) for _ in range(c.n_layer)]

        return State(
            conv=zeros(np.int8, c.d_conv - 1, c.conv_dim),
            h=zeros(np.int16, c.nheads, c.headdim, d_state),
            h_exp=zeros(np.uint8, c.nheads, c.headdim, blocks),
            position=np.zeros(batch, dtype=np.int64),
        )

    def take(self, rows: slice) -> "State":
        """Copy of some of the sequences."""
        return State(
            *([x[rows].copy() for x in part] for part in (self.conv, self.h, self.h_exp)),
            self.position[rows].copy(),
        )

    @staticmethod
    def join(parts: "list[State]") -> "State":
        """Put sequences side by side again."""
        joined = (
            [np.concatenate(layer) for layer in zip(*(getattr(p, name) for p in parts), strict=True)]
            for name in ("conv", "h", "h_exp")
        )
        return State(*joined, np.concatenate([p.position for p in parts]))
