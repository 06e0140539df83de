"""Nanoseconds of a datasheet to cycles of a clock."""

from dataclasses import replace

import pytest

from lightmamba.common.errors import InputError
from lightmamba.hardware.soc.sdram_timing import ULX3S, SdramCycles


@pytest.mark.parametrize(
    ("mhz", "expected"),
    [
        (100.0, SdramCycles(2, 3, 3, 5, 2, 7, 2, 2, 780, 20_000)),
        (133.0, SdramCycles(3, 3, 3, 6, 2, 10, 3, 2, 1037, 26_600)),
        (133.333, SdramCycles(3, 3, 3, 6, 2, 10, 3, 2, 1039, 26_667)),
        (50.0, SdramCycles(2, 2, 2, 3, 1, 4, 2, 2, 390, 10_000)),
    ],
)
def test_worked_values(mhz: float, expected: SdramCycles):
    assert ULX3S.cycles(mhz) == expected


def test_the_row_cycle_may_be_what_counts():
    assert replace(ULX3S, rc=95.0).cycles(100).ras == 7


@pytest.mark.parametrize("mhz", [10.0, 143.0, 166.0])
def test_refuses_clocks_out_of_range(mhz: float):
    with pytest.raises(InputError, match=rf"must be 20 to 133.4 MHz, not {mhz:g} MHz"):
        ULX3S.cycles(mhz)
