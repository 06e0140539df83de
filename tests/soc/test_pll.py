"""Dividers of a PLL, by hand and against the limits of the device."""

import pytest

from lightmamba.common.errors import InputError
from lightmamba.hardware.soc.board import Pll


def test_worked_values() -> None:
    """25 MHz times 4 is 100 MHz; times 6 the oscillator has 600, a tenth of which is 60."""
    pll = Pll.of(25, 100, 60)
    assert pll == Pll(25, fb=4, ref=1, first=6, second=10)
    assert (pll.first_mhz, pll.vco_mhz, pll.second_mhz) == (100, 600, 60)
    assert pll.turn == 48
    assert pll.step_ps == pytest.approx(1e6 / 4800)
    assert pll.turn * pll.step_ps == pytest.approx(1e6 / 100)


@pytest.mark.parametrize(("first", "second"), [(100, 50), (100, 75), (125, 62.5), (80, 80)])
def test_clocks_are_those_that_were_asked_for(first: float, second: float) -> None:
    pll = Pll.of(25, first, second)
    assert pll.first_mhz == pytest.approx(first)
    assert pll.second_mhz == pytest.approx(second)
    assert 400 <= pll.vco_mhz <= 800
    assert all(1 <= n <= 128 for n in (pll.first, pll.second))


def test_a_clock_that_cannot_be_made_is_one_sentence() -> None:
    with pytest.raises(
        InputError, match=r"^a PLL makes no 61 MHz next to 100 MHz .* try clock_mhz = "
    ) as caught:
        Pll.of(25, 100, 61)
    near = float(str(caught.value).rpartition(" ")[2])
    assert Pll.of(25, 100, near).second_mhz == pytest.approx(near, abs=0.001)
    with pytest.raises(InputError):
        Pll.of(25, 133.37, 60)


@pytest.mark.parametrize("wanted", [10.7, 45, 66.67, 115, 135])
def test_the_clock_of_the_sentence_is_one_that_can_be_made(wanted: float) -> None:
    """Also after it was rounded to whole hertz, as a build keeps it."""
    with pytest.raises(InputError) as caught:
        Pll.of(25, 100, wanted)
    hertz = round(float(str(caught.value).rpartition(" ")[2]) * 1e6)
    assert Pll.of(25, 100, hertz / 1e6).second_mhz * 1e6 == pytest.approx(hertz, abs=1)
