"""Observables of a Mamba2 layer from the accelerator's probes, by the engine's names."""

from collections.abc import Mapping

import numpy as np

from lightmamba.arch.program import Kind
from lightmamba.arch.records import Found, Record, Values, blocked, carried, lead, shaped
from lightmamba.blocks.mamba2.layout import conv_order
from lightmamba.blocks.mamba2.sizes import Sizes
from lightmamba.blocks.mamba2.state import bc_block, padded_state, x_block
from lightmamba.blocks.protocols import out_channels
from lightmamba.formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["Observed"]


class Observed:
    """The records of one token, arranged by layers.

    Parameters
    ----------
    sizes, formats
        Of the layers.
    layers : int
        How many there are.
    probes
        Records by probe; those of ``conv_in`` hold the last three inputs of a channel.
    rows : (in_rows,)
        Row of in_proj, in its natural order, that was computed at each place.

    Raises
    ------
    ValueError
        If a probe saw fewer or more records than the token has.
    """

    def __init__(
        self, sizes: Sizes, formats: Formats, layers: int, probes: Mapping[str, Record], rows: Ints
    ) -> None:
        k, n = sizes, layers
        self.sizes, self.formats = sizes, formats
        self.channel = np.argsort(conv_order(k, rows))  # where each one was computed
        self.conv = shaped("conv", probes["conv"], n, k.conv_dim)
        self.inputs = shaped("conv_in", probes["conv_in"], n, k.conv_dim)
        self.heads = shaped("heads", probes["heads"], n, k.nheads)
        bc = probes["bc"]
        self.blocks = {
            "x": (shaped("x", probes["x"], n, k.nheads, k.headdim), x_block(k).block),
            **{
                kind.name: (
                    shaped("bc", bc.where(bc["kind"] == kind), n, k.ngroups, k.d_state),
                    bc_block(k, formats).block,
                )
                for kind in (Kind.B, Kind.C)
            },
        }
        words = -(-k.d_state // 32) * 32 // probes["updates"]["q"].shape[-1]
        self.h = shaped("updates", probes["updates"], n, k.nheads, k.headdim, words)
        self.y = shaped("y", probes["y"], n, k.nheads, k.headdim)
        self.gate = shaped("gate", probes["gate"], n, k.d_inner)
        self.mixed = shaped("hadamard", probes["hadamard"], n, out_channels(k, formats))

    def layer(self, index: int) -> Found:
        """Yield name, values and cycles of all between in_proj and out_proj, in order."""
        at, k, f = f"layer.{index}", self.sizes, self.formats
        yield from carried(at, "conv", self.conv.take((index, self.channel)))
        yield _conv_state(f"{at}.conv.state", self.inputs.take((index, self.channel)), k.d_conv - 1)
        for name, (record, block) in self.blocks.items():
            yield from blocked(f"{at}.ssm.{name}", record.take(index), block)
        yield from carried(at, "heads", self.heads.take(index))
        yield from _state(f"{at}.ssm", self.h.take(index), padded_state(k, f), bc_block(k, f).block)
        yield from carried(at, "y", self.y.take(index))
        yield from carried(at, "gate", self.gate.take(index))
        yield from carried(at, "hadamard", self.mixed.take(index))


def _state(name: str, record: Record, padded: int, block: int) -> Found:
    """State and exponents, cropped to what the model has."""
    shape = record.records.shape[:-1]
    q = record["q"].astype(np.int64).reshape(*shape, -1)[..., :padded]
    exp = record["exp"].astype(np.int64).reshape(*shape, -1)[..., : padded // block]
    words = record.cycles.shape[-1]
    per = q.shape[-1] // words if q.shape[-1] >= words else 1
    cycles = np.repeat(record.cycles, max(1, per), axis=-1)[..., : q.shape[-1]]
    yield f"{name}.h", lead(q, 1), lead(cycles, 1)
    steps = np.arange(exp.shape[-1]) * words // max(1, exp.shape[-1])
    yield f"{name}.h_exp", lead(exp, 1), lead(record.cycles[..., steps], 1)


def _conv_state(name: str, record: Record, taps: int) -> tuple[str, Values, Values]:
    """Last inputs of each channel, (1, taps, channels)."""
    inputs = record["value"].astype(np.int64)[:, -taps:].T
    return name, lead(inputs, 1), lead(np.broadcast_to(record.cycles, inputs.shape), 1)
