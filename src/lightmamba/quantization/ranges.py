"""Ranges by channel of the projections' inputs and weights, before and after rotation."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.blocks.floating import numpy64
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import Checkpoint
from lightmamba.numerics.gate import OnlineHadamard
from lightmamba.quantization.api import Calibration
from lightmamba.quantization.calibrate import InputTrace, run_layer
from lightmamba.quantization.transforms import (
    Rotation,
    fuse_norms,
    insert_hadamard,
    rotate_residual,
)

__all__ = ["ChannelRanges", "channel_ranges", "ranges_of", "rotate"]


@dataclass(frozen=True)
class ChannelRanges:
    """One projection of one layer."""

    activation_max: NDArray[np.float64]  # (channels,), largest magnitude over the tokens
    activation_median: NDArray[np.float64]  # (channels,)
    weight_max: NDArray[np.float64]  # (channels,), largest magnitude over the rows

    @property
    def peak(self) -> float:
        """Largest activation over the root mean square of the channel maxima."""
        largest = self.activation_max
        return float(largest.max() / np.sqrt((largest**2).mean()))


@torch.no_grad()
def channel_ranges(model: CausalLM, ids: NDArray[np.int64]) -> list[dict[str, ChannelRanges]]:
    """Ranges of in_proj and out_proj of every layer over (sequences, seqlen) ids."""
    u, out = model.embedding(torch.from_numpy(ids)), []
    for layer in model.layers:
        trace = InputTrace(every=1)
        u = run_layer(layer, u, trace.see)
        found = {}
        for name in ("in_proj", "out_proj"):
            seen = trace.inputs(f"{name}.input").abs().numpy()  # (tokens, channels)
            weight = np.abs(numpy64(getattr(layer.mixer, name).weight))
            found[name] = ChannelRanges(seen.max(0), np.median(seen, 0), weight.max(0))
        out.append(found)
    return out


def rotate(model: CausalLM, seed: int) -> None:
    """Apply the rotations of the project's recipes, in place."""
    fuse_norms(model)
    rotate_residual(model, Rotation.random(model.config.d_model, seed))
    for layer in model.layers:
        insert_hadamard(layer, OnlineHadamard())


def ranges_of(
    checkpoint: Checkpoint, seed: int
) -> tuple[list[dict[str, ChannelRanges]], list[dict[str, ChannelRanges]]]:
    """Ranges of every layer before and after the rotations, which stay in the checkpoint's model.

    They are taken over a short calibration: shipped novels, or ids that the model samples.
    """
    ids, _ = Calibration(sequences=8, seqlen=256).tokens(checkpoint, seed)
    before = channel_ranges(checkpoint.model, ids)
    rotate(checkpoint.model, seed)
    return before, channel_ranges(checkpoint.model, ids)
