"""Our model of the SDRAM chip, against LiteDRAM's controller, which runs on many boards.

The model finds no rule broken and no wrong data, and it does if the chip is slower than LiteDRAM
expects.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ..support import sdram
from .test_sdram import in_order, mixed, random_traffic

pytestmark = [pytest.mark.slow, pytest.mark.board]  # half a minute to build

# What LiteDRAM's MT48LC16M16 says of the chip, in picoseconds; data are valid in 6 ns.
CHIP = {
    "rcd": 20_000, "rp": 20_000, "ras": 44_000, "rc": 64_000, "rfc": 66_000, "wr": 15_000,
    "refresh_period": 64_000_000_000, "access2": 6_000,
}  # fmt: skip


@cache
def library() -> Path:
    from .litedram_controller import verilog

    return sdram.built(verilog())


def simulate(traffic: list[sdram.Transaction], **limits: int) -> sdram.Outcome:
    """One clock; LiteDRAM takes data a cycle earlier than ours with `capture` 1."""
    rules: Any = CHIP | limits
    return sdram.simulate(traffic, library=library(), sync_mhz=100, lag_ps=3_000, **rules)


@pytest.mark.parametrize("seed", range(4))
def test_the_model_agrees_with_litedram(seed: int):
    outcome = simulate(random_traffic(seed))
    assert (outcome.wrong, outcome.violations) == (0, 0), outcome.text
    assert outcome.finished


@pytest.mark.parametrize(
    ("name", "limit"), [("rcd", 20_001), ("rp", 20_001), ("rfc", 120_000), ("refresh_period", 0)]
)
def test_the_model_sees_that_a_chip_is_slower(name: str, limit: int):
    """More than the cycles that LiteDRAM waits; a refresh period of 60 ms instead of 64."""
    limit = limit or 60_000_000_000
    assert simulate(
        mixed(0, 12_000 if name == "refresh_period" else 500), **{name: limit}
    ).violations


def test_ours_is_faster():
    """Reads in order and a mix, both at 100 MHz: 98 and 97 % with ours."""
    for traffic in (in_order(), mixed(0)):
        outcome = simulate(traffic)
        ours = sdram.simulate(traffic, sync_mhz=100)
        assert (outcome.wrong, outcome.violations) == (0, 0), outcome.text
        print(f"{100 * outcome.efficiency(100):.1f} % and {100 * ours.efficiency(100):.1f} %")
        assert outcome.efficiency(100) < ours.efficiency(100)
