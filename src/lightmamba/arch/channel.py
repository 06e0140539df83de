"""Memory channels of a target: what each brings, and where regions of it may begin."""

import math
from dataclasses import dataclass

from lightmamba.arch.contract import PAGE

__all__ = ["KINDS", "Channel"]

KINDS = ("hbm2", "sdr", "ddr3", "ddr4", "lpddr4")  # memories whose energy is known
LONGEST_NS = 1e9


@dataclass(frozen=True)
class Channel:
    """One memory, with an address space of its own, and the ports that share it.

    Parameters
    ----------
    gb_per_s : float
        What its data sheet says, reads and writes together, in 10^9 bytes.
    attainable_gb_per_s : float
        The mean that long bursts reach, refresh included: in one direction where ``turn_ns`` is
        given, else of the reads and writes that the target brings.
    latency_ns : float
        From an address to its first data, when nothing else is under way.
    refresh_interval_ns, refresh_ns : float
        Every ``refresh_interval_ns`` the channel is unavailable for ``refresh_ns``; 0: never.
    turn_ns : float
        Time lost by a change from reads to writes and back; each of the two costs half of it.
    base_step, base_round : int
        The n-th region of the channel begins at n times ``base_step`` bytes, modulo
        ``base_round``, so that streams that run in step use different banks. 0: anywhere. The
        channel itself must then begin at a multiple of ``base_round``.
    capacity_mib : int
        What it holds; 0: not limited here.
    kind : str
        One of :data:`KINDS`, for its energy; empty where no memory is meant.
    source : str
        Where the numbers are from, and which of them are choices.
    """

    name: str
    ports: tuple[str, ...]
    gb_per_s: float
    attainable_gb_per_s: float
    latency_ns: float
    source: str
    refresh_interval_ns: float = 0.0
    refresh_ns: float = 0.0
    turn_ns: float = 0.0
    base_step: int = 0
    base_round: int = 0
    capacity_mib: int = 0
    kind: str = ""

    def __post_init__(self) -> None:
        at = f"channel {self.name}"
        if self.kind and self.kind not in KINDS:
            raise ValueError(f"{at}: kind must be one of {', '.join(KINDS)}, not {self.kind}")
        if not 0 < self.attainable_gb_per_s <= self.gb_per_s:
            raise ValueError(
                f"{at}: attainable_gb_per_s must be above 0 and at most gb_per_s "
                f"{self.gb_per_s}, not {self.attainable_gb_per_s}"
            )
        for name in ("latency_ns", "turn_ns", "capacity_mib"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"{at}: {name} must not be negative, not {value}")
        self._check_bases(at)
        for name in ("latency_ns", "refresh_interval_ns", "turn_ns"):
            if (value := getattr(self, name)) > LONGEST_NS:
                raise ValueError(f"{at}: {name} must be at most {LONGEST_NS:g}, not {value}")
        idle = self.refresh_interval_ns == self.refresh_ns == 0
        if not idle and not 0 < self.refresh_ns < self.refresh_interval_ns:
            raise ValueError(
                f"{at}: refresh_ns {self.refresh_ns} must be above 0 and below "
                f"refresh_interval_ns {self.refresh_interval_ns}, or both 0"
            )
        if not self.source.strip():
            raise ValueError(f"{at}: say in source where its numbers are from")

    def _check_bases(self, at: str) -> None:
        step, whole = self.base_step, self.base_round
        if step == whole == 0:
            return
        if not (step and PAGE <= step <= whole <= 1 << 30 and step % PAGE == whole % step == 0):
            raise ValueError(
                f"{at}: base_step must be a multiple of {PAGE} and base_round one of base_step, "
                f"for example 16384 and 65536, not {step} and {whole}"
            )

    @property
    def alignment(self) -> int:
        """Bytes that the first address of the channel must be a multiple of."""
        return max(PAGE, self.base_round)

    def bytes_per_cycle(self, clock_mhz: float) -> float:
        """Attainable bytes per cycle of this clock, reads and writes together."""
        return self.attainable_gb_per_s * 1e3 / clock_mhz

    def refresh_cycles(self, clock_mhz: float) -> tuple[int, int]:
        """Refresh interval and duration, in cycles of this clock."""
        every = round(self.refresh_interval_ns * clock_mhz / 1e3)
        return every, math.ceil(self.refresh_ns * clock_mhz / 1e3)
