"""Timing of a single data rate SDRAM: nanoseconds as in a datasheet, and cycles of a clock."""

from dataclasses import dataclass

from lightmamba.common.errors import InputError

__all__ = ["ULX3S", "SdramCycles", "SdramTiming"]


@dataclass(frozen=True)
class SdramCycles:
    """Timing of a chip in cycles of one clock; each is the least number between two commands.

    Attributes
    ----------
    cas : int
        CAS latency, from READ to the first data: 2 or 3.
    rcd, rp, ras, rrd, rfc : int
        ACTIVE to READ or WRITE; PRECHARGE to ACTIVE; ACTIVE to PRECHARGE; ACTIVE to ACTIVE of
        another bank; AUTO REFRESH to the next command. ``ras`` + ``rp`` is never less than tRC.
    wr : int
        Last data of a write to PRECHARGE.
    mrd : int
        LOAD MODE REGISTER to the next command.
    refresh : int
        From one AUTO REFRESH to the next, on the average.
    power_up : int
        From a stable clock to the first command.
    """

    cas: int
    rcd: int
    rp: int
    ras: int
    rrd: int
    rfc: int
    wr: int
    mrd: int
    refresh: int
    power_up: int


@dataclass(frozen=True)
class SdramTiming:
    """Timing of a chip in nanoseconds, and the clocks that it allows.

    Attributes
    ----------
    rcd, rp, ras, rc, rfc, rrd, wr, mrd : float
        As in :class:`SdramCycles`; ``rc`` is ACTIVE to ACTIVE of the same bank.
    wr_cycles, mrd_cycles : int
        Least clock cycles of ``wr`` and ``mrd``: some datasheets name cycles, others a time.
    ras_most : float
        The longest time that a row may stay open.
    refreshes, refresh_period : int, float
        AUTO REFRESH commands that are needed in each period.
    power_up : float
        Wait before the first command.
    cas2_most_mhz, most_mhz : float
        Fastest clock with CAS latency 2, and with 3.
    least_mhz : float
        Slowest clock for which the numbers hold.
    """

    rcd: float
    rp: float
    ras: float
    ras_most: float
    rc: float
    rfc: float
    rrd: float
    wr: float
    wr_cycles: int
    mrd: float
    mrd_cycles: int
    refreshes: int
    refresh_period: float
    power_up: float
    cas2_most_mhz: float
    most_mhz: float
    least_mhz: float

    def cycles(self, mhz: float, late: int = 0) -> SdramCycles:
        """Round the times up to cycles of a clock, and the refresh interval down.

        Parameters
        ----------
        mhz
            Clock of the chip.
        late
            Cycles by which a controller may delay an AUTO REFRESH; the interval is as much shorter
            as keeps each row within its period.

        Raises
        ------
        InputError
            If the chip does not work at that clock.
        """
        if not self.least_mhz <= mhz <= self.most_mhz:
            raise InputError(
                f"the SDRAM's clock must be {self.least_mhz:g} to {self.most_mhz:g} MHz, "
                f"not {mhz:g} MHz"
            )
        rp, ras = _up(self.rp, mhz), _up(self.ras, mhz)
        return SdramCycles(
            cas=2 if mhz <= self.cas2_most_mhz else 3,
            rcd=_up(self.rcd, mhz),
            rp=rp,
            ras=max(ras, _up(self.rc, mhz) - rp),
            rrd=_up(self.rrd, mhz),
            rfc=_up(self.rfc, mhz),
            wr=max(self.wr_cycles, _up(self.wr, mhz)),
            mrd=max(self.mrd_cycles, _up(self.mrd, mhz)),
            refresh=int((_picoseconds(self.refresh_period) * mhz / 1e6 - late) // self.refreshes),
            power_up=_up(self.power_up, mhz),
        )


# The slowest numbers of all chips of the ULX3S boards. The data sheet of each chip is in
# device/sim/sdram_chips.toml, which the chip's model reads; a test compares the two files.
ULX3S = SdramTiming(
    rcd=21.0,
    rp=21.0,
    ras=42.0,
    ras_most=100_000.0,
    rc=63.0,
    rfc=70.0,
    rrd=14.0,
    wr=20.0,
    wr_cycles=2,
    mrd=14.0,
    mrd_cycles=2,
    refreshes=8192,
    refresh_period=8192 * 7_800.0,
    power_up=200_000.0,
    cas2_most_mhz=100.0,
    most_mhz=133.4,
    least_mhz=20.0,
)


def _picoseconds(ns: float) -> int:
    return round(ns * 1000)


def _up(ns: float, mhz: float) -> int:
    """Cycles that take at least so long; a clock is exact to a ten-thousandth of a cycle."""
    return max(1, -(-round(_picoseconds(ns) * mhz / 100) // 10_000))
