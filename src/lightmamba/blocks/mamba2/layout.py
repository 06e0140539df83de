"""Memory layout of a Mamba2 layer: row order, parameter streams, states.

Everything is plain bytes, computed by whole arrays (docs/developer/hardware-units.md).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, CONV_HEADER, EXPONENT_RUN, GATE_WEIGHTS, TAPS
from lightmamba.arch.ports import of_token
from lightmamba.blocks.mamba2.graph import GRAPH
from lightmamba.blocks.mamba2.quantized import Mixer, Sizes, natural
from lightmamba.numerics.primitives import Ints

__all__ = ["ROWS", "block_ends", "conv_order", "parameters", "row_order", "state_bytes"]

ROWS = [row.name for row in GRAPH.rows]

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]


def row_order(sizes: Sizes, order: str) -> Ints:
    """Row of in_proj, in the natural order z, x, B, C, dt, that comes at each place.

    Reordered: dt, B, C, x of the first head, then x of each next head alternating with z of the one
    before it, and z of the last head.
    """
    rows = np.arange(sizes.in_rows)
    if order == "naive":
        return rows
    part = {name: rows[place] for name, place in sizes.sections().items()}
    x, z = (part[name].reshape(sizes.nheads, sizes.headdim) for name in ("x", "z"))
    turns = np.stack([x[1:], z[:-1]], axis=-1).ravel()
    return np.concatenate([part["dt"], part["B"], part["C"], x[0], turns, z[-1]])


def conv_order(sizes: Sizes, rows: Ints) -> Ints:
    """Channel of the convolution (of x, B, C) that comes at each place."""
    first = sizes.d_inner
    return rows[(rows >= first) & (rows < first + sizes.conv_dim)] - first


def block_ends(sizes: Sizes, order: str, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Kind of every channel of the convolution, in their order, and those that end a block.

    Blocks of ``block`` channels restart with every head of x and every group of B and C.
    """
    x, b, c = (ROWS.index(name) for name in ("x", "B", "C"))
    parts, rows = sizes.sections(), conv_order(sizes, row_order(sizes, order)) + sizes.d_inner
    kinds = np.select([rows < parts["B"].start, rows < parts["C"].start], [x, b], c)
    ends = np.zeros(len(kinds), np.bool_)
    runs = {x: sizes.headdim, b: sizes.d_state, c: sizes.d_state}
    for kind, run in runs.items():
        mine = kinds == kind
        place = np.arange(mine.sum()) % run
        ends[mine] = (place == run - 1) | (place % block == block - 1)
    return kinds, np.flatnonzero(ends)


def parameters(mixer: Mixer, rows: Ints) -> dict[str, Words]:
    """Words of each stream; ``rows`` (in_rows,) is the order of the rows of in_proj."""
    return {
        "conv_params": _conv_words(mixer, conv_order(mixer.sizes, rows)),
        "head_params": _head_words(mixer),
        "gate_params": _gate_words(mixer, rows[rows < mixer.sizes.d_inner]),
    }


def _field(values: NDArray[np.signedinteger], at: int, bits: int) -> Words:
    """Values cut to a number of bits, at a place of a word."""
    cut = values.astype(np.int64) & ((1 << bits) - 1)
    return cut.astype(np.uint64) << np.uint64(at)


def _conv_words(mixer: Mixer, channels: Ints) -> Words:
    """Parameters of the convolution: per eight channels one word of output shifts, then theirs."""
    taps = mixer.conv_weight[:, channels]
    first = TAPS - len(taps)  # a shorter kernel has zeros for its oldest taps
    words = _field(mixer.conv_bias[channels], 32, 24)
    words |= _field(mixer.conv_in_shift[channels], 56, 4)
    for k, tap in enumerate(taps):
        words |= _field(tap, 8 * (first + k), 8)
    whole = -(-len(channels) // CONV_HEADER) * CONV_HEADER
    shifts = np.zeros(whole, dtype=np.int8)
    shifts[: len(channels)] = mixer.conv_out_shift[channels]
    out = np.zeros((whole // CONV_HEADER, CONV_HEADER + 1), dtype=np.uint64)
    out[:, 0] = shifts.view("<u8")
    out[:, 1:] = np.pad(words, (0, whole - len(channels))).reshape(-1, CONV_HEADER)
    return out.ravel()[: len(channels) + whole // CONV_HEADER]


def _head_words(mixer: Mixer) -> Words:
    """Parameters of the discretization, a word per head."""
    return (
        _field(mixer.dt_bias, 0, 16)
        | _field(mixer.A, 16, 16)
        | _field(mixer.A_shift, 32, 8)
        | _field(mixer.D, 40, 16)
    )


def _gate_words(mixer: Mixer, channels: Ints) -> Words:
    """Weights of the gated norm, four to a word."""
    weights = mixer.gate_weight[channels].astype("<i2")
    return np.pad(weights, (0, -len(weights) % GATE_WEIGHTS)).view("<u8")


def state_bytes(
    sizes: Sizes, order: str, state: Mapping[str, NDArray[Any]], arch: ArchConfig
) -> dict[str, Bytes]:
    """A layer's state of one sequence as it lies in the regions of its clients.

    The layout is that of :mod:`lightmamba.hardware.rtl.memory.state`: head by head, words of
    elements in beats of the port, a beat of exponents (a byte per 32 elements) before every 32
    beats; where there are several ports, each has its part of every word. The convolution keeps
    ``arch.window`` bytes per channel, in the order of its rows: the last three inputs, the oldest
    first, and zeros.
    """
    width, ports = arch.padded_state, arch.state_ports
    h, h_exp = (natural(state[name])[0] for name in ("h", "h_exp"))
    q = np.zeros((sizes.d_inner, width), np.uint8)
    q[:, : h.shape[-1]] = h.reshape(sizes.d_inner, -1).view(np.uint8)
    exp = np.zeros((sizes.d_inner, width // BLOCK), np.uint8)
    exp[:, : h_exp.shape[-1]] = h_exp.reshape(sizes.d_inner, -1)
    channels = conv_order(sizes, row_order(sizes, order))
    found = {"conv_state": _conv_bytes(state["conv"][0], channels, arch.window)}
    for port in range(ports):
        beats = []
        of_heads = (np.split(values, sizes.nheads) for values in (q, exp))
        for some, of_them in zip(*of_heads, strict=True):
            if ports > 1:
                some, of_them = (
                    values.reshape(-1, ports, arch.port_elements // unit)[:, port]
                    for values, unit in ((some, 1), (of_them, BLOCK))
                )
            beats += _beats(some, of_them, arch.state_port_bits // 8)
        found[of_token("state", port)] = np.concatenate(beats).ravel()
    return found


def _beats(q: Bytes, exp: Bytes, beat: int) -> list[Bytes]:
    """Beats of exponents and of elements, alternating."""
    elements = _whole(q.ravel(), beat).reshape(-1, beat)
    exponents = _whole(exp.ravel(), beat).reshape(-1, beat)  # one beat for EXPONENT_RUN of them
    beats = []
    for n, codes in enumerate(exponents):
        beats += [codes[None], elements[n * EXPONENT_RUN : (n + 1) * EXPONENT_RUN]]
    return beats


def _conv_bytes(conv: NDArray[np.int8], channels: Ints, window: int) -> Bytes:
    out = np.zeros((len(channels), window), np.uint8)
    taps = conv.shape[0]
    out[:, TAPS - 1 - taps : TAPS - 1] = conv[:, channels].T.view(np.uint8)
    return out.ravel()


def _whole(values: Bytes, unit: int) -> Bytes:
    return np.pad(values, (0, -len(values) % unit))
