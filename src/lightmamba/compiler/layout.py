"""How memory holds a model: lane images and parameter streams (docs/developer/hardware-units.md).

Everything is plain bytes, computed by whole arrays; the same model gives the same bytes.
"""

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import CONV_HEADER, GATE_WEIGHTS, GROUP, TAPS, WORD
from lightmamba.config import Mamba2Config
from lightmamba.numerics.formats import pack
from lightmamba.numerics.primitives import Ints
from lightmamba.qmodel import QuantizedLayer

__all__ = [
    "beats", "conv_order", "conv_words", "embedding_rows", "gate_words", "head_words",
    "lane_images", "row_order",
]  # fmt: skip

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]


def row_order(config: Mamba2Config, order: str) -> Ints:
    """Row of in_proj, in the natural order z, x, B, C, dt, that comes at each place.

    Reordered: dt, B, C, x of the first head, then x of each next head by turns with z of the one
    before it, and z of the last head.
    """
    rows = np.arange(config.d_in_proj)
    if order == "naive":
        return rows
    part = {name: rows[place] for name, place in config.splits().items()}
    x, z = (part[name].reshape(config.nheads, config.headdim) for name in ("x", "z"))
    turns = np.stack([x[1:], z[:-1]], axis=-1).ravel()
    return np.concatenate([part["dt"], part["B"], part["C"], x[0], turns, z[-1]])


def conv_order(config: Mamba2Config, rows: Ints) -> Ints:
    """Channel of the convolution (of x, B, C) that comes at each place."""
    first = config.d_inner
    return rows[(rows >= first) & (rows < first + config.conv_dim)] - first


def beats(arch: ArchConfig, rows: int, channels: int) -> int:
    """Beats of a projection in each lane, scale beats included."""
    weights = -(-rows // arch.lanes) * channels // arch.products
    return weights + -(-weights // arch.scale_period)


def lane_images(
    arch: ArchConfig, q: NDArray[np.int8], code: Bytes, order: Ints | None = None
) -> Bytes:
    """Beats of a projection, (lanes, bytes): row r of the order in lane r mod lanes.

    Parameters
    ----------
    arch
        The machine.
    q, code : (rows, channels), (rows, channels / 128)
        Integers and scale codes.
    order : (rows,)
        Row that comes at each place; as they are, if not given.
    """
    rows = len(q)
    lanes, port, period = arch.lanes, arch.port_bits // 8, arch.scale_period
    slots = -(-rows // lanes)

    def by_lane(values: Bytes) -> Bytes:
        ordered = values if order is None else values[order]
        whole = np.pad(ordered, [(0, slots * lanes - rows), (0, 0)])
        return whole.reshape(slots, lanes, -1).transpose(1, 0, 2).reshape(lanes, -1)

    weights, codes = by_lane(pack(q, arch.weight_bits)), by_lane(code)
    count = weights.shape[1] // port
    runs = -(-count // period)
    out = np.zeros((lanes, runs, period + 1, port), dtype=np.uint8)
    out[:, :, 0] = _pad(codes, runs * port).reshape(lanes, runs, port)
    out[:, :, 1:] = _pad(weights, runs * period * port).reshape(lanes, runs, period, port)
    return out.reshape(lanes, -1)[:, : (runs + count) * port]


def _pad(values: Bytes, width: int) -> Bytes:
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])])


def _field(values: NDArray[np.signedinteger], at: int, bits: int) -> Words:
    """Values cut to so many bits, at a place of a word."""
    cut = values.astype(np.int64) & ((1 << bits) - 1)
    return cut.astype(np.uint64) << np.uint64(at)


def conv_words(layer: QuantizedLayer, channels: Ints) -> Words:
    """Parameters of the convolution: per eight channels one word of output shifts, then theirs."""
    taps = layer.conv_weight[:, channels]
    first = TAPS - len(taps)  # a shorter kernel has zeros for its oldest taps
    words = _field(layer.conv_bias[channels], 32, 24)
    words |= _field(layer.conv_in_shift[channels], 56, 4)
    for k, tap in enumerate(taps):
        words |= _field(tap, 8 * (first + k), 8)
    whole = -(-len(channels) // CONV_HEADER) * CONV_HEADER
    shifts = np.zeros(whole, dtype=np.int8)
    shifts[: len(channels)] = layer.conv_out_shift[channels]
    out = np.zeros((whole // CONV_HEADER, CONV_HEADER + 1), dtype=np.uint64)
    out[:, 0] = shifts.view("<u8")
    out[:, 1:] = np.pad(words, (0, whole - len(channels))).reshape(-1, CONV_HEADER)
    return out.ravel()[: len(channels) + whole // CONV_HEADER]


def head_words(layer: QuantizedLayer) -> Words:
    """Parameters of the discretization, a word per head."""
    return (
        _field(layer.dt_bias, 0, 16)
        | _field(layer.A, 16, 16)
        | _field(layer.A_shift, 32, 8)
        | _field(layer.D, 40, 16)
    )


def gate_words(layer: QuantizedLayer, channels: Ints) -> Words:
    """Weights of the gated norm, four to a word."""
    weights = layer.gate_weight[channels].astype("<i2")
    return np.pad(weights, (0, -len(weights) % GATE_WEIGHTS)).view("<u8")


def embedding_rows(q: NDArray[np.int8], code: Bytes, stride: int) -> Bytes:
    """Rows of the embedding, (rows, stride): per group a word with the code, then int8."""
    rows, channels = q.shape
    groups = channels // GROUP
    out = np.zeros((rows, stride), dtype=np.uint8)
    used = out[:, : groups * (WORD + GROUP)].reshape(rows, groups, WORD + GROUP)
    used[:, :, 0] = code
    used[:, :, WORD:] = q.view(np.uint8).reshape(rows, groups, GROUP)
    return out
