"""Outliers of a float model: ranges by channel, and a twin with heavy ones to test quantizers on.

Small models have few outliers. Two rewrites that keep the function make them: the residual stream
turned into its principal axes, so that a few channels carry most of it, and scattered channels of
the gated norm scaled up, with the columns of out_proj scaled down.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import Parameter

from lightmamba.blocks.floating import numpy64, rms_norm
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import Checkpoint, ModelWeights
from lightmamba.quantization.api import Calibration
from lightmamba.quantization.calibrate import InputTrace, run_layer
from lightmamba.quantization.passes import FuseNorms, OnlineHadamard, Pass, Rotate
from lightmamba.quantization.rotation import Rotation
from lightmamba.quantization.transforms import fuse_layer, rotate_layer, set_parameter
from lightmamba.quantization.work import Floats, Work

__all__ = ["ChannelRanges", "channel_ranges", "make_outlier_twin", "ranges_of"]

BATCH = 8  # sequences that are looked at together
# Those of the project's recipes, without what is learned.
ROTATIONS = FuseNorms(), Rotate(steps=0), OnlineHadamard(gate_weight="keep")


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


@torch.no_grad()
def make_outlier_twin(
    model: CausalLM, ids: NDArray[np.int64], seed: int, factor: float = 50.0, share: float = 1 / 32
) -> CausalLM:
    """Copy a model into one with the same logits and heavy outliers.

    Parameters
    ----------
    model : CausalLM
        Left as it is.
    ids : (sequences, seqlen)
        Tokens on which the principal axes of the residual stream are found.
    seed : int
        Of the scattered channels and their factors.
    factor : float
        Most that a channel of the gated norm is scaled up; log-uniform from 1 on.
    share : float
        Share of the gated norm's channels that is scaled, in each layer.

    Returns
    -------
    CausalLM
        With norms fused and the head untied.

    Raises
    ------
    ValueError
        If ``factor`` is below 1 or ``share`` outside 0 to 1.
    """
    if factor < 1 or not 0 <= share <= 1:
        raise ValueError(f"factor must be >= 1 and share in 0..1, not {factor} and {share}")
    twin = copy.deepcopy(model)
    twin.config = replace(model.config, tie_embeddings=False)
    for layer in twin.layers:
        fuse_layer(layer)
    axes = Rotation.dense(_principal_axes(twin, ids))
    work = Work(ModelWeights(model), ids, seed, fused=True, rotation=axes)
    for layer in twin.layers:
        rotate_layer(layer, axes)
    twin.lm_head.weight = Parameter(work.head(slice(None)), requires_grad=False)
    set_parameter(twin.embedding.weight, work.turned(model.embedding.weight))
    set_parameter(twin.norm_f, work.norm_f())
    rng = np.random.default_rng(seed)
    for layer in twin.layers:
        if layer.mixer.norm is None:
            continue
        width = len(layer.mixer.norm)
        scale, count = np.ones(width), math.ceil(share * width)
        channels = rng.choice(width, count, replace=False)
        scale[channels] = np.exp(rng.uniform(0.0, math.log(factor), count))
        up, mixer = torch.from_numpy(scale), layer.mixer
        set_parameter(mixer.norm, mixer.norm.double() * up)
        set_parameter(mixer.out_proj.weight, mixer.out_proj.weight.double() / up)
    return twin


def _principal_axes(model: CausalLM, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Orthogonal (d_model, d_model): column k is the axis with the k-th most energy.

    The energy is that of the normalized stream, which the projections see, over all layers.
    """
    c = model.config
    one = torch.ones(c.d_model, dtype=torch.float64)
    moments = torch.zeros(c.d_model, c.d_model, dtype=torch.float64)
    for start in range(0, len(ids), BATCH):
        u = model.embedding(torch.from_numpy(ids[start : start + BATCH]))
        streams = [u]
        for layer in model.layers:
            u, _ = layer(u, layer.mixer.empty_cache(len(u)))
            streams.append(u)
        for stream in streams:
            flat = rms_norm(stream.double(), one, c.eps).flatten(0, 1)
            moments += flat.T @ flat
    _, axes = np.linalg.eigh(moments.numpy())
    return np.ascontiguousarray(axes[:, ::-1])
