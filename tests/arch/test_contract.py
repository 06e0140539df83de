"""Numbers of the contract that stand elsewhere, where Python cannot import them."""

import re

from lightmamba.arch.contract import BLOCK, GROUP, PAGE
from lightmamba.numerics.model_formats import Formats
from tests.docs.pages import ROOT


def test_the_simulators_page_is_the_contracts():
    text = (ROOT / "src/lightmamba/device/sim/memory.hpp").read_text(encoding="utf-8")
    assert re.findall(r"constexpr uint64_t PAGE = (\d+);", text) == [str(PAGE)]


def test_a_model_without_a_wish_has_the_formats_of_the_hardware():
    assert (Formats().block, Formats().head_block, Formats().group) == (BLOCK, BLOCK, GROUP)
