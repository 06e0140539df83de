"""Marks of tests that need programs which may be missing."""

import shutil

import pytest

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth.tools import find_tool

__all__ = ["needs_nextpnr", "needs_verilator", "needs_yosys"]

needs_verilator = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
)


def _needs(*names: str) -> pytest.MarkDecorator:
    """Mark for tools of synthesis."""
    reason = ""
    try:
        for name in names:
            find_tool(name)
    except InputError as error:
        reason = str(error)
    return pytest.mark.skipif(bool(reason), reason=reason)


needs_yosys = _needs("yosys")
needs_nextpnr = _needs("yosys", "nextpnr-ecp5")
