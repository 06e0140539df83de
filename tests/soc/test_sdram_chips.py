"""Timing of the SDRAM controller against the data sheets of all chips, in arithmetic of its own."""

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest

from lightmamba.device.package import Board
from lightmamba.device.sim.sdram_chips import NUMBERS, SdramChip, limits, sdram_chips
from lightmamba.hardware.soc.sdram_scheduler import LATE
from lightmamba.hardware.soc.sdram_timing import ULX3S, SdramTiming

CHIPS = {chip.name: chip for chip in sdram_chips()}
ULX3S_MHZ = Board.load("ulx3s").memory_mhz
LEAST = ("rcd", "rp", "ras", "rc", "rfc", "rrd", "wr", "mrd")
MOST = ("ras_most", "refresh_period")

# Cycles at 100 MHz: tRCD, tRP, tRAS, tRC, tRFC, tRRD, tWR, tMRD, worked out by hand.
AT_100_MHZ = {
    "MT48LC16M16A2TG-6A": (2, 2, 5, 6, 6, 2, 2, 2),
    "AS4C32M16SB-7TCN": (3, 3, 5, 7, 7, 2, 2, 2),
    "AS4C16M16SA-7TCN": (3, 3, 5, 7, 7, 2, 2, 2),
    "IS42S16160G-7TL": (2, 2, 4, 6, 7, 2, 2, 2),
}


def needed(chip: SdramChip, name: str, mhz: float) -> int:
    """Cycles of a clock that a chip needs at least."""
    cycles = ceil(Fraction(str(getattr(chip, name))) * Fraction(str(mhz)) / 1000)
    return max(cycles, getattr(chip, f"{name}_cycles", 1))


def broken(timing: SdramTiming, chips: Iterable[SdramChip], mhz: float) -> list[str]:
    """Names of a chip and of its parameter that a controller at this clock does not keep."""
    t, found = timing.cycles(mhz, LATE), []
    given = {name: getattr(t, name, 0) for name in LEAST} | {"rc": t.ras + t.rp}
    for chip in chips:
        found += [f"{chip.name} {n}" for n in LEAST if given[n] < needed(chip, n, mhz)]
        period = Fraction(1000) / Fraction(str(mhz))
        if period < Fraction(str(chip.cas2 if t.cas == 2 else chip.cas3)):
            found.append(f"{chip.name} cas{t.cas}")
        if (t.refresh * chip.refreshes + LATE) * period > chip.refresh_period:
            found.append(f"{chip.name} refresh_period")
        if t.power_up * period < chip.power_up:
            found.append(f"{chip.name} power_up")
    return found


CLOCKS = [20.0, 37.5, 48.0, 50.0, 66.0, 99.9, ULX3S_MHZ, 112.4, 125.0, 133.0, 133.4]


@pytest.mark.parametrize("mhz", CLOCKS)
def test_the_controller_keeps_every_chip(mhz: float):
    """And waits no cycle longer than the slowest chip needs."""
    assert broken(ULX3S, CHIPS.values(), mhz) == []
    t = ULX3S.cycles(mhz)
    for name in ("rcd", "rp", "rfc", "rrd", "wr", "mrd"):
        assert getattr(t, name) == max(needed(chip, name, mhz) for chip in CHIPS.values()), name


@pytest.mark.parametrize(
    ("name", "timing"), [("rcd", replace(ULX3S, rcd=20.0)), ("rp", replace(ULX3S, rp=20.0))]
)
def test_20_ns_are_too_short_for_two_of_the_chips(name: str, timing: SdramTiming):
    found = broken(timing, CHIPS.values(), ULX3S_MHZ)
    assert found == [f"AS4C32M16SB-7TCN {name}", f"AS4C16M16SA-7TCN {name}"]


def test_the_controller_has_the_slowest_number_of_all_chips_and_none_that_is_slower():
    """So each of the two files finds a wrong number in the other one."""
    for name in (*LEAST, "wr_cycles", "mrd_cycles", "refreshes", "power_up"):
        assert getattr(ULX3S, name) == max(getattr(chip, name) for chip in CHIPS.values()), name
    for name in MOST:
        assert getattr(ULX3S, name) == min(getattr(chip, name) for chip in CHIPS.values()), name
    assert ULX3S.cas2_most_mhz == min(1000 / chip.cas2 for chip in CHIPS.values())
    assert ULX3S.most_mhz <= min(1000 / chip.cas3 for chip in CHIPS.values())


@pytest.mark.parametrize("name", CHIPS)
def test_cycles_of_each_chip(name: str):
    assert tuple(needed(CHIPS[name], n, 100.0) for n in LEAST) == AT_100_MHZ[name]


def test_every_number_has_its_data_sheet():
    assert CHIPS.keys() == AT_100_MHZ.keys()
    for chip in CHIPS.values():
        assert any(maker in chip.source for maker in ("Micron", "Alliance", "ISSI"))
        assert chip.boards
        assert all(getattr(chip, name) > 0 for name in NUMBERS if name != "mrd")
        assert chip.ras + chip.rp <= chip.rc


def test_the_model_keeps_one_chip_or_all():
    slow, fast = CHIPS["AS4C32M16SB-7TCN"], CHIPS["MT48LC16M16A2TG-6A"]
    assert (limits(fast).rcd, limits(slow).rcd, limits().rcd) == (18_000, 21_000, 21_000)
    assert (limits(slow).access2, limits().access2, limits().hold) == (6_000, 7_500, 2_500)
    assert (limits().wr, limits().wr_cycles, limits().ras_most) == (20_000, 2, 100_000_000)
    assert limits().refresh_period == 8192 * 7_800_000
