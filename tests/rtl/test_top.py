"""The Verilog of a whole machine: clean, and the same every time."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.top import to_verilog

pytestmark = [pytest.mark.slow, pytest.mark.board]  # a whole machine, made three times
CONFIG = ArchConfig(
    lanes=1, state_elements=8, state_port_bits=64, in_channels=128, out_channels=128, heads=2,
    padded_state=32,
)  # fmt: skip
WIDE = replace(CONFIG, lanes=2, port_bits=512, burst_beats=16)  # a beat is a whole group
# What the Verilog writer always does: widths by the context, cases without a default.
STYLE = ("WIDTHEXPAND", "WIDTHTRUNC", "CASEINCOMPLETE", "SYMRSVDWORD")

PRINT = "from tests.rtl.test_top import CONFIG, to_verilog; print(to_verilog(CONFIG), end='')"


@pytest.fixture(scope="module")
def verilog():
    return to_verilog(CONFIG)


def test_it_is_the_same_on_every_run(verilog):
    other = subprocess.run(
        [sys.executable, "-c", PRINT],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert other.stdout == verilog


def test_its_ports_have_the_names_of_the_contract(verilog):
    for name in ("lane0__araddr", "state_write__wdata", "aux__bvalid", "host__awaddr", "interrupt"):
        assert f" {name}" in verilog
    assert not re.search(r"probe_[a-z]\w*__valid", verilog)


@pytest.mark.skipif(shutil.which("verilator") is None, reason="Verilator is missing")
@pytest.mark.parametrize(
    "config",
    [pytest.param(CONFIG, id="narrow"), pytest.param(WIDE, id="wide")],
)
def test_verilator_finds_nothing(config, verilog, tmp_path):
    (tmp_path / "top.v").write_text(verilog if config is CONFIG else to_verilog(config))
    quiet = [f"-Wno-{kind}" for kind in STYLE]
    found = subprocess.run(
        ["verilator", "--lint-only", *quiet, "--top-module", "lightmamba", "top.v"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    assert "%Warning" not in found.stderr


@pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is missing")
def test_yosys_finds_nothing(verilog, tmp_path):
    (tmp_path / "top.v").write_text(verilog)
    script = "read_verilog top.v; hierarchy -check -top lightmamba; proc; check -assert"
    found = subprocess.run(
        ["yosys", "-p", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, (found.stdout + found.stderr)[-2000:]
    assert "Found and reported 0 problems" in found.stdout
