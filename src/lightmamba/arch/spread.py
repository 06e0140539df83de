"""Layout of what grows with its sequences and is spread over the channels of the lanes.

A run of positions is made of units: a row with the first 64-bit word of each of P positions, then
the rows of their other words, position after position. A row has P words: a beat of each channel.
"""

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import PAGE, WORD
from lightmamba.arch.ports import of_token

__all__ = ["lanes_of", "rows", "segment_bytes", "spread"]

Bytes = NDArray[np.uint8]


def rows(arch: ArchConfig, words: int, positions: int) -> int:
    """Rows of a run of positions of some 64-bit words each, the first ones included; 0 of none."""
    if not words:
        return 0
    per_row = arch.row_bytes // WORD
    units, rest = divmod(positions, per_row)
    return units * words + (1 + -(-rest * (words - 1) // per_row) if rest else 0)


def segment_bytes(runs: int, stride: int) -> int:
    """Bytes of a segment of some runs on each channel: whole pages."""
    return -(-runs * stride // PAGE) * PAGE


def spread(arch: ArchConfig, client: str, first: Bytes, others: Bytes) -> dict[str, Bytes]:
    """Bytes of each channel's region of a client.

    Parameters
    ----------
    arch : ArchConfig
        The machine.
    client : str
        The regions are ``client``, ``client1`` and so on.
    first, others : (runs, positions, bytes)
        A word of each position, and its other words.
    """
    (runs, positions, _), per_row = others.shape, arch.row_bytes // WORD
    parts = [np.zeros((runs, 0), np.uint8)]
    for at in range(0, positions, per_row):
        for values in (first, others):
            unit = values[:, at : at + per_row].reshape(runs, -1)
            parts.append(np.pad(unit, [(0, 0), (0, -unit.shape[1] % arch.row_bytes)]))
    whole = np.concatenate(parts, axis=1)
    by_lane = whole.reshape(runs, -1, arch.row_lanes, arch.port_bits // 8)
    return {
        name: by_lane[:, :, n].ravel() for n, name in enumerate(lanes_of(arch, client))
    }  # fmt: skip


def lanes_of(arch: ArchConfig, client: str) -> list[str]:
    """Regions of a client: one on the channel of each lane that has a part of it."""
    return [of_token(client, n) for n in range(arch.row_lanes)]
