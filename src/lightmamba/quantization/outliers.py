"""A twin of a model with the same function and heavy outliers, to test quantizers on.

Small models have few outliers. Two rewrites that keep the function make them: the residual stream
turned into its principal axes, so that a few channels carry most of it, and scattered channels of
the gated norm scaled up, with the columns of out_proj scaled down.
"""

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import Parameter

from lightmamba.blocks.floating import rms_norm
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import ModelWeights
from lightmamba.quantization.transforms import (
    Rotation,
    fuse_layer,
    rotate_layer,
    set_parameter,
)
from lightmamba.quantization.work import Work

__all__ = ["make_outlier_twin"]

BATCH = 8  # sequences that are looked at together


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
