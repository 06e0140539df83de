"""A design of two clocks with pins, from Verilog to a bitstream and back."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightmamba.common.errors import InputError
from lightmamba.hardware.synth import bitstream
from lightmamba.hardware.synth.board import between_of, clocks_of
from lightmamba.hardware.synth.flow import Flow, edit_files, write_flow
from lightmamba.hardware.synth.tools import Tool, find_ecppack, find_ecpunpack

from .machines import _missing, needs_nextpnr

WHY = _missing(find_ecppack) or _missing(find_ecpunpack)
needs_ecppack = pytest.mark.skipif(bool(WHY), reason=WHY)
HERE = Path(__file__).parent
CLOCKS = {"clk_a": 50.0, "clk_b": 80.0}
# Places of an LFE5U-85F in the package CABGA381, those that a ULX3S has for lamps and keys.
SITES = {
    "clk_a": "G2", "clk_b": "P3", "rst_n": "D6", "led[0]": "B2", "led[1]": "C2", "led[2]": "C1",
    "led[3]": "D2", "led[4]": "D1", "led[5]": "E2", "led[6]": "E1", "led[7]": "H3",
    "key[0]": "E8", "key[1]": "D8", "key[2]": "D7", "key[3]": "E7",
}  # fmt: skip
PLAIN = {"PATH": os.environ["PATH"]}  # an environment that names no package
PINS = "".join(f'LOCATE COMP "{port}" SITE "{site}";\n' for port, site in SITES.items())


def flow(**changes: Any) -> Flow:
    """The design, but for these."""
    given: dict[str, Any] = {
        "top": "blink", "verilog": {"blink.v": (HERE / "blink.v").read_text()}, "pins": PINS,
        "clocks": CLOCKS, "resets": ("rst_a",),
    }  # fmt: skip
    return Flow(**given | changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Results of the flow, and the folder."""
    folder = tmp_path_factory.mktemp("blink")
    return bitstream(flow(), folder), folder


@needs_nextpnr
@needs_ecppack
@pytest.mark.slow
def test_a_board_gets_a_bitstream(made):
    routed, folder = made
    assert routed.path == folder / "blink.bit"
    assert routed.path.stat().st_size > 100_000
    assert {c.name: c.constraint_mhz for c in routed.clocks} == CLOCKS
    assert all(clock.met for clock in routed.clocks)
    assert set(routed.between_ns) == {("clk_a", "clk_b")}
    used = routed.used
    assert (used["DP16KD"], used["MULT18X18D"], used["TRELLIS_IO"]) == (1, 1, len(SITES))
    assert used["DCCA"] == 3  # two clocks and a reset
    assert routed.available["TRELLIS_COMB"] == 83_640
    assert routed.edits["absorbed"] == 52  # a product of 36 bits, 16 before it
    assert routed.edits["rst_a"] == 18


@needs_nextpnr
@needs_ecppack
@pytest.mark.slow
def test_packing_again_what_was_unpacked_gives_the_same_bytes(made):
    routed, folder = made
    find_ecpunpack().run(["blink.bit", "unpacked.config"], folder)
    find_ecppack().run(["--compress", "unpacked.config", "again.bit"], folder)
    assert (folder / "again.bit").read_bytes() == routed.path.read_bytes()
    text = (folder / "unpacked.config").read_text()
    (folder / "other.config").write_text(re.sub(r"^arc: .*\n", "", text, count=1, flags=re.M))
    find_ecppack().run(["--compress", "other.config", "other.bit"], folder)
    assert (folder / "other.bit").read_bytes() != routed.path.read_bytes()


@needs_nextpnr
@needs_ecppack
@pytest.mark.slow
def test_a_clock_that_is_too_slow_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"^the clock clk_b reaches [\d.]+ MHz, [\d.]+ MHz less than"
    ):
        bitstream(flow(clocks=CLOCKS | {"clk_b": 900}), tmp_path)
    assert not (tmp_path / "blink.bit").exists()


@needs_nextpnr
@needs_ecppack
@pytest.mark.slow
def test_a_design_that_does_not_fit_says_what_it_lacks(tmp_path):
    verilog = (
        "module many(input clk, input i, output o); wire [159:0] p; genvar n; generate "
        "for (n = 0; n < 160; n = n + 1) begin : each reg a; always @(posedge clk) a <= i ^ p[n]; "
        "MULT18X18D m (.A0(a), .B0(i), .P0(p[n])); end endgenerate assign o = ^p; endmodule\n"
    )
    sites = {"clk": "G2", "i": "E2", "o": "B2"}
    pins = "".join(f'LOCATE COMP "{p}" SITE "{site}";\n' for p, site in sites.items())
    design = flow(top="many", verilog={"many.v": verilog}, pins=pins, clocks={"clk": 50}, resets=())
    with pytest.raises(InputError, match=r"it needs 160 MULT18X18D where the device has 156$"):
        bitstream(design, tmp_path)


@needs_nextpnr
@needs_ecppack
def test_a_reset_that_is_none_is_named_with_others(tmp_path):
    with pytest.raises(
        InputError, match=r"^hold resets no register of blink; most have rst_a \(18\)"
    ):
        bitstream(flow(resets=("hold",)), tmp_path)
    (tmp_path / "edits").mkdir()
    for name, text in edit_files().items():
        (tmp_path / "edits" / name).write_text(text)
    arguments = ["netlist.json", "edited.json", "--top", "blink", "--reset", "hold"]
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-m", "edits.edit", *arguments],
        cwd=tmp_path, env=PLAIN, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("edit: hold resets no register of blink; most have rst_a (18)")


REPORT = {
    "fmax": {
        "$glbnet$clk$TRELLIS_IO_IN": {"achieved": 71.5, "constraint": 50.0},
        "$glbnet$pll_out": {"achieved": 99.0, "constraint": 100.0},
    },
    "critical_paths": [
        {"from": "posedge $glbnet$pll_out", "to": "posedge $glbnet$pll_out", "path": []},
        {"from": "<async>", "to": "posedge $glbnet$pll_out", "path": []},
        {
            "from": "posedge $glbnet$clk$TRELLIS_IO_IN", "to": "negedge $glbnet$pll_out",
            "path": [{"delay": 1.5}, {"delay": 0.25}],
        },
    ],
}  # fmt: skip


def test_clocks_have_the_names_of_the_design():
    clocks = clocks_of(REPORT)
    assert [(c.name, c.met) for c in clocks] == [("clk", True), ("pll_out", False)]
    assert between_of(REPORT) == {("clk", "pll_out"): 1.75}


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """Tools that give a netlist and that report, and a folder."""
    netlist = {
        "modules": {
            "blink": {
                "ports": {"clk": {"direction": "input", "bits": [2]}},
                "netnames": {"clk": {"bits": [2], "hide_name": 0}},
                "cells": {},
            }
        }
    }
    log = "Info: Device utilisation:\nInfo: \t    TRELLIS_COMB:   8/83640     0%\nERROR: no bel\n"
    program = (
        f"import json, sys\nopen('netlist.json', 'w').write({json.dumps(netlist)!r})\n"
        f"open('report.json', 'w').write({json.dumps(REPORT | {'utilization': {}})!r})\n"
        f"open('nextpnr.log', 'w').write({log!r})\nopen('blink.bit', 'w').write('bits')\n"
        "sys.exit(open('says').read() if '--seed' in sys.argv else 0)\n"
    )
    (tmp_path / "tool.py").write_text(program)
    (tmp_path / "says").write_text("")
    tool = Tool((sys.executable, "tool.py"), "tool 9.9")
    for name in ("find_yosys", "find_nextpnr", "find_ecppack"):
        monkeypatch.setattr(f"lightmamba.hardware.synth.board.{name}", lambda: tool)
    return tmp_path


def test_what_is_asked_of_clocks_is_judged(pretended):
    (pretended / "says").unlink()
    (pretended / "tool.py").write_text(
        (pretended / "tool.py").read_text().replace("open('says').read()", "0")
    )
    with pytest.raises(InputError, match=r"has no signal clk_a for a clock; its inputs are clk$"):
        bitstream(flow(resets=()), pretended)
    wanted = flow(resets=(), clocks={"clk": 50})
    with pytest.raises(
        InputError, match=r"the clock pll_out reaches 99.0 MHz, 1.0 MHz less than .* of 100 MHz"
    ):
        bitstream(wanted, pretended)
    assert bitstream(wanted, pretended, slow=True).path.read_text() == "bits"


def test_why_nextpnr_failed_is_said(pretended):
    wanted = flow(resets=(), clocks={"clk": 50})
    (pretended / "says").write_text("ERROR: no way")
    with pytest.raises(InputError, match="ERROR: no way; the last line of its log: ERROR: no bel"):
        bitstream(wanted, pretended)
    text = (pretended / "tool.py").read_text()
    (pretended / "tool.py").write_text(text.replace("8/83640 ", "99000/83640 "))
    with pytest.raises(
        InputError, match="it needs 99,000 TRELLIS_COMB where the device has 83,640"
    ):
        bitstream(wanted, pretended)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"top": "a b"}, "'a b' must be a word"),
        ({"clocks": {}}, "a design for a board needs a clock"),
        ({"clocks": {"clk": 0}}, "the clock clk must be above 0 and at most 1000 MHz"),
    ],
)
def test_a_design_without_sense_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        flow(**change)


def test_the_folder_has_pins_and_constraints(tmp_path):
    write_flow(flow(), tmp_path)
    assert (tmp_path / "blink.v").read_text() == (HERE / "blink.v").read_text()
    pins = (tmp_path / "pins.lpf").read_text()
    assert pins == f'{PINS}FREQUENCY NET "clk_a" 50 MHZ;\nFREQUENCY NET "clk_b" 80 MHZ;\n'
