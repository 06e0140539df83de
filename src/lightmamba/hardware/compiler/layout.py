"""How memory holds a model: lane images and the embedding (docs/developer/hardware-units.md).

Everything is plain bytes, computed by whole arrays; the same model gives the same bytes.
"""

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import GROUP, WORD
from lightmamba.numerics.formats import halves, pack
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.primitives import Ints

__all__ = ["beats", "embedding_rows", "lane_images"]

Bytes = NDArray[np.uint8]


def beats(arch: ArchConfig, rows: int, channels: int, op: Projection) -> int:
    """Beats of a projection in each lane, scale beats included."""
    words = -(-rows // arch.lanes) * channels // arch.products
    return arch.beats(op) * words + -(-words // arch.scale_period)


def lane_images(
    arch: ArchConfig, op: Projection, q: NDArray[np.int8], code: Bytes, order: Ints | None = None
) -> Bytes:
    """Beats of a projection, (lanes, bytes): row r of the order in lane r mod lanes.

    A word of weights that are wider than a lane's is two beats: the upper halves, then the lower.

    Parameters
    ----------
    arch, op
        The machine, and the arithmetic of the projection.
    q, code : (rows, channels), (rows, channels / 128)
        Integers and scale codes.
    order : (rows,)
        Row that comes at each place; as they are, if not given.
    """
    rows = len(q)
    lanes, port, period = arch.lanes, arch.port_bits // 8, arch.scale_period * arch.beats(op)
    slots = -(-rows // lanes)

    def by_lane(values: Bytes) -> Bytes:
        ordered = values if order is None else values[order]
        whole = np.pad(ordered, [(0, slots * lanes - rows), (0, 0)])
        return whole.reshape(slots, lanes, -1).transpose(1, 0, 2).reshape(lanes, -1)

    weights, codes = by_lane(_packed(arch, op, q)), by_lane(code)
    count = weights.shape[1] // port
    runs = -(-count // period)
    out = np.zeros((lanes, runs, period + 1, port), dtype=np.uint8)
    out[:, :, 0] = _pad(codes, runs * port).reshape(lanes, runs, port)
    out[:, :, 1:] = _pad(weights, runs * period * port).reshape(lanes, runs, period, port)
    return out.reshape(lanes, -1)[:, : (runs + count) * port]


def _packed(arch: ArchConfig, op: Projection, q: NDArray[np.int8]) -> Bytes:
    """Weights in beats, (rows, bytes)."""
    if arch.beats(op) > 1:
        words = np.stack([half.reshape(len(q), -1, arch.products) for half in halves(q)], 2)
        q = words.reshape(len(q), -1)
    return pack(q, arch.weight_bits)


def _pad(values: Bytes, width: int) -> Bytes:
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])])


def embedding_rows(q: NDArray[np.int8], code: Bytes, stride: int) -> Bytes:
    """Rows of the embedding, (rows, stride): per group a word with the code, then int8."""
    rows, channels = q.shape
    groups = channels // GROUP
    out = np.zeros((rows, stride), dtype=np.uint8)
    used = out[:, : groups * (WORD + GROUP)].reshape(rows, groups, WORD + GROUP)
    used[:, :, 0] = code
    used[:, :, WORD:] = q.view(np.uint8).reshape(rows, groups, GROUP)
    return out
