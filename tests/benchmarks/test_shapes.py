"""Random shapes on random machines: a small one in CI, all of them in the slow run."""

import shutil

import pytest
from bench.shapes import CASES, check

pytestmark = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
)
QUICK = "W8A8, one lane, one port", "compact: 8 elements, one port of 64"


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow, *[pytest.mark.board] * (n in QUICK)]) for n in CASES],
)
def test_the_hardware_equals_the_engine(name):
    assert check(name)["difference"] is None
