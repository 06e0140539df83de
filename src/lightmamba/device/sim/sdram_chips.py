"""SDRAM chips by their data sheets, and the limits that the chip's model checks."""

import ctypes
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from lightmamba.common.plain import build

__all__ = ["Limits", "SdramChip", "limits", "sdram_chips"]

FILE = Path(__file__).parent / "sdram_chips.toml"
LEAST = {"ras_most", "refresh_period", "hold"}  # of several chips the smallest value counts
COUNTS = {"wr_cycles", "mrd_cycles", "refreshes"}  # not a time
LATE = 8  # AUTO REFRESH commands that may be late: JEDEC's limit


@dataclass(frozen=True)
class SdramChip:
    """A chip as its data sheet describes it; times are nanoseconds.

    Attributes
    ----------
    name, boards, source : str
        Part number, the boards that have it, and the data sheet with its table.
    rcd, rp, ras, rc, rfc, rrd, wr, mrd : float
        Least times: ACTIVE to READ or WRITE; PRECHARGE to ACTIVE; ACTIVE to PRECHARGE; ACTIVE to
        ACTIVE of the same bank; AUTO REFRESH to the next command; ACTIVE to ACTIVE of another bank;
        last data of a write to PRECHARGE; LOAD MODE REGISTER to the next command.
    wr_cycles, mrd_cycles : int
        Least clock cycles of ``wr`` and ``mrd``.
    ras_most : float
        Longest time that a row may stay open.
    refreshes, refresh_period : int, float
        AUTO REFRESH commands that are needed in each period.
    power_up : float
        Wait before the first command.
    cas2, cas3 : float
        Shortest clock period with CAS latency 2 and 3.
    access2, access3, hold : float
        Data are valid from ``access2`` or ``access3`` after an edge of the clock, by CAS latency,
        until ``hold`` after the next one.
    """

    name: str
    boards: str
    source: str
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
    cas2: float
    cas3: float
    access2: float
    access3: float
    hold: float


NUMBERS = tuple(field.name for field in fields(SdramChip) if field.type is not str)


class Limits(ctypes.Structure):
    """SdramLimits of ``sdram_chip.hpp``: counts, and times in picoseconds."""

    _fields_ = tuple((name, ctypes.c_int64) for name in (*NUMBERS, "refreshes_late"))


@cache
def sdram_chips() -> tuple[SdramChip, ...]:
    """Chips of ``sdram_chips.toml``."""
    entries = tomllib.loads(FILE.read_text(encoding="utf-8"))["chip"]
    return tuple(build(SdramChip, entry, entry["name"]) for entry in entries)


def limits(*chips: SdramChip) -> Limits:
    """Limits that keep every one of these chips; of all known ones, if none is given."""
    found = Limits(refreshes_late=LATE)
    for name in NUMBERS:
        values = [getattr(chip, name) for chip in chips or sdram_chips()]
        value = min(values) if name in LEAST else max(values)
        setattr(found, name, value if name in COUNTS else round(value * 1000))
    return found
