"""Nanoseconds of a datasheet to cycles of a clock."""

from dataclasses import replace

import pytest

from lightmamba.errors import InputError
from lightmamba.soc.sdram_timing import ULX3S, SdramCycles


@pytest.mark.parametrize(
    ("mhz", "expected"),
    [
        (100.0, SdramCycles(2, 2, 2, 5, 2, 7, 2, 2, 781, 20_000)),
        (133.0, SdramCycles(3, 3, 3, 6, 2, 10, 3, 2, 1039, 26_600)),
        (133.333, SdramCycles(3, 3, 3, 6, 2, 10, 3, 2, 1041, 26_667)),
        (50.0, SdramCycles(2, 1, 1, 3, 1, 4, 1, 2, 390, 10_000)),
    ],
)
def test_worked_values(mhz: float, expected: SdramCycles):
    assert ULX3S.cycles(mhz) == expected


@pytest.mark.parametrize("mhz", [20.0, 37.5, 66.0, 99.9, 100.0, 112.4, 125.0, 133.4])
def test_no_time_is_cut(mhz: float):
    t, period = ULX3S.cycles(mhz, late=128), 1000 / mhz
    for name in ("rcd", "rp", "ras", "rrd", "rfc", "wr", "power_up"):
        assert getattr(t, name) * period >= getattr(ULX3S, name) * 0.9999
        assert (getattr(t, name) - 1) * period < getattr(ULX3S, name) or name == "ras"
    assert (t.ras + t.rp) * period >= ULX3S.rc * 0.9999
    assert (t.refresh * ULX3S.refreshes + 128) * period <= ULX3S.refresh_period


def test_the_row_cycle_may_be_what_counts():
    assert replace(ULX3S, rc=95.0).cycles(100).ras == 8


@pytest.mark.parametrize("mhz", [10.0, 143.0, 166.0])
def test_refuses_clocks_out_of_range(mhz: float):
    with pytest.raises(InputError, match=rf"must be 20 to 133.4 MHz, not {mhz:g} MHz"):
        ULX3S.cycles(mhz)
