"""Weights as the lanes read them: beats of packed integers, scale beats between them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import GROUP

__all__ = ["cut", "lane_beats"]


def cut(beat: int, bits: int) -> list[int]:
    """Beats of a word of 64 bits or of several: itself, or its parts, the lowest first."""
    return [beat >> at & ((1 << bits) - 1) for at in range(0, 64, bits)] if bits < 64 else [beat]


def _number(values: Any, bits: int) -> int:
    """One integer of many, the first in the lowest bits."""
    return sum((int(v) & ((1 << bits) - 1)) << (bits * n) for n, v in enumerate(values))


def lane_beats(
    config: ArchConfig, weight: NDArray[np.int8], code: NDArray[np.uint8], *, split: bool = False
) -> list[list[int]]:
    """Beats of each lane for one projection.

    Parameters
    ----------
    config
        Lanes and widths.
    weight : (rows, channels)
        Row r goes to lane r mod lanes.
    code : (rows, channels / 128)
        Group scales.
    split
        A word is two beats: upper nibbles, then lower ones.
    """
    slots = -(-len(weight) // config.lanes)
    missing = ((0, slots * config.lanes - len(weight)), (0, 0))
    weight, code = np.pad(weight, missing).astype(np.int64), np.pad(code, missing)
    per_beat = config.port_bits // 8  # codes, and groups, of a scale beat
    assert per_beat * GROUP == config.scale_period * config.products
    lanes = []
    for lane in range(config.lanes):
        w = weight[lane :: config.lanes].reshape(-1, config.products)
        codes = code[lane :: config.lanes].reshape(-1)
        beats = []
        for n, word in enumerate(w):
            if n % config.scale_period == 0:
                at = n // config.scale_period * per_beat
                beats.append(_number(codes[at : at + per_beat], 8))
            if split:
                lower = (word + 8) % 16 - 8
                beats.append(_number((word - lower) // 16, config.weight_bits))
            beats.append(_number(word, config.weight_bits))
        lanes.append(beats)
    return lanes
