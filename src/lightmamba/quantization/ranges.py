"""Ranges by channel of the projections' inputs and weights, before and after rotation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.blocks.floating import numpy64
from lightmamba.model.checkpoint import Checkpoint
from lightmamba.quantization.api import Calibration
from lightmamba.quantization.calibrate import InputTrace, run_layer
from lightmamba.quantization.recipe import FuseNorms, OnlineHadamard, Pass, Rotate
from lightmamba.quantization.work import Floats, Work

__all__ = ["ChannelRanges", "channel_ranges", "ranges_of"]

ROTATIONS = FuseNorms(), Rotate(), OnlineHadamard(gate_weight="keep")  # of the project's recipes


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
def channel_ranges(work: Work, passes: Sequence[Pass] = ()) -> list[dict[str, ChannelRanges]]:
    """Ranges of in_proj and out_proj of every layer as passes rewrite it, over ``work.ids``."""
    for step in passes:
        step.begin(work)
    u, out = work.turned(work.weights.embedding()[torch.from_numpy(work.ids)]), []
    for index in range(work.config.n_layer):
        layer, trace = work.layer(index, passes, Floats.of(u)), InputTrace(every=1)
        u = run_layer(layer, u, trace.see)
        found = {}
        for name in ("in_proj", "out_proj"):
            seen = trace.inputs(f"{name}.input").abs().numpy()  # (tokens, channels)
            weight = np.abs(numpy64(getattr(layer.mixer, name).weight))
            found[name] = ChannelRanges(seen.max(0), np.median(seen, 0), weight.max(0))
        out.append(found)
    return out


def ranges_of(
    checkpoint: Checkpoint, seed: int
) -> tuple[list[dict[str, ChannelRanges]], list[dict[str, ChannelRanges]]]:
    """Ranges of every layer before and after the rotations of the project's recipes.

    They are taken over a short calibration: shipped novels, or ids that the model samples.
    """
    ids, _ = Calibration(sequences=8, seqlen=256).tokens(checkpoint, seed)
    before, after = (Work(checkpoint.weights, ids, seed) for _ in range(2))
    return channel_ranges(before), channel_ranges(after, ROTATIONS)
