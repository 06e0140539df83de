"""Memory channels in cycles of the accelerator's clock."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from lightmamba.arch.target import Channel

__all__ = ["Pace", "paces"]


@dataclass(frozen=True)
class Pace:
    """Rate and latency of a channel in cycles.

    Parameters
    ----------
    bytes_per_cycle : Fraction
        Between refreshes, so that the mean is the attainable rate.
    latency : int
        From an address to the first beat.
    refresh_every, refresh_for, refresh_phase : int
        Every ``refresh_every`` cycles the channel is unavailable for ``refresh_for``; the cycle
        of that period in which it begins.
    turn : int
        Cycles lost by a change from reads to writes, or from writes to reads.
    """

    bytes_per_cycle: Fraction
    latency: int
    refresh_every: int
    refresh_for: int
    refresh_phase: int
    turn: int


def paces(channels: Sequence[Channel], clock_mhz: float) -> tuple[Pace, ...]:
    """Pace of each channel; their refreshes are spread evenly."""
    found = []
    for n, channel in enumerate(channels):
        every, pause = channel.refresh_cycles(clock_mhz)
        rate = Fraction(channel.bytes_per_cycle(clock_mhz))
        found.append(
            Pace(
                bytes_per_cycle=rate * Fraction(every, every - pause) if pause else rate,
                latency=max(1, math.ceil(channel.latency_ns * clock_mhz / 1e3)),
                refresh_every=every,
                refresh_for=pause,
                refresh_phase=n * every // len(channels),
                turn=math.ceil(channel.turn_ns / 2 * clock_mhz / 1e3),
            )
        )
    return tuple(found)
