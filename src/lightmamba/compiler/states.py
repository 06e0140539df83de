"""A sequence's state as it lies in the accelerator's memory: to it from the engine's, and back.

The layout is that of :mod:`lightmamba.rtl.state`: per layer, words of S elements in beats as wide
as the port, a beat of exponents (a byte per 32 elements) before every 32 beats of elements. The
convolution keeps four bytes per channel, the oldest input first, in the order of its rows.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.artifact import Artifact
from lightmamba.arch.contract import BLOCK, EXPONENT_RUN
from lightmamba.blocks.mamba2.layout import conv_bytes, conv_order, row_order
from lightmamba.compiler.memory import Memory
from lightmamba.compiler.source import sizes

__all__ = ["memory_of", "state_bytes"]

Bytes = NDArray[np.uint8]


def memory_of(artifact: Artifact) -> Memory:
    """Sizes and places of a build."""
    config, _ = sizes(artifact.model)
    return Memory(config, artifact.arch, artifact.target)


def state_bytes(
    artifact: Artifact,
    conv: NDArray[np.int8],
    h: NDArray[np.int8],
    h_exp: Bytes,
) -> Mapping[str, Bytes]:
    """Content of the regions ``state`` and ``conv_state`` for a state of the engine.

    Parameters
    ----------
    artifact : Artifact
        Of the model.
    conv : (layers, d_conv - 1, conv_dim)
        Of the first so many layers; last inputs of the convolution.
    h : (n_layer, nheads, headdim, d_state)
        Elements, padded to whole blocks of 32.
    h_exp : (n_layer, nheads, headdim, d_state / 32)
        Exponent of each block.
    """
    memory = memory_of(artifact)
    rows = row_order(memory.layer, artifact.order)
    channels = conv_order(memory.layer, rows)
    layers = range(len(conv))
    return {
        "state": np.concatenate([_ssm(memory, h[i], h_exp[i]) for i in layers]),
        "conv_state": np.concatenate([_conv(memory, conv[i], channels) for i in layers]),
    }


def _ssm(memory: Memory, h: NDArray[np.int8], h_exp: Bytes) -> Bytes:
    arch, beat = memory.arch, memory.state_beat
    rows = memory.layer.d_inner
    q = np.zeros((rows, arch.padded_state), np.uint8)
    q[:, : h.shape[-1]] = h.reshape(rows, -1).view(np.uint8)
    exp = np.zeros((rows, arch.padded_state // BLOCK), np.uint8)
    exp[:, : h_exp.shape[-1]] = h_exp.reshape(rows, -1)
    elements = _whole(q.ravel(), beat).reshape(-1, beat)
    exponents = _whole(exp.ravel(), beat).reshape(-1, beat)  # one beat for EXPONENT_RUN of them
    out = []
    for n, codes in enumerate(exponents):
        run = elements[n * EXPONENT_RUN : (n + 1) * EXPONENT_RUN]
        out += [codes[None], run]
    found: Bytes = np.concatenate(out).ravel()
    return found


def _conv(memory: Memory, conv: NDArray[np.int8], channels: NDArray[np.int64]) -> Bytes:
    return _whole(conv_bytes(conv, channels), memory.conv_stride)


def _whole(values: Bytes, unit: int) -> Bytes:
    return np.pad(values, (0, -len(values) % unit))
