"""Multipliers with what is in them: written out, as DSP48E2, and by AMD's own model of it.

With AMD's model, 10^6 cycles: fetch github.com/Xilinx/XilinxUnisimLibrary, then

    UNISIMS=XilinxUnisimLibrary/verilog/src pytest tests/rtl/test_dsp.py
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.device.sim.library import DSP
from lightmamba.device.sim.tools import find_verilator
from lightmamba.hardware.rtl.dsp import Products
from lightmamba.hardware.rtl.pipe import Pipe
from lightmamba.hardware.rtl.verilog import written

UNISIMS = os.environ.get("UNISIMS", "")
DRIVER = """
`timescale 1 ps / 1 ps
module driver;
  MORE
  reg clk = 0;
  reg [26:0] a, d;
  reg [17:0] b;
  reg fresh;
  wire [47:0] x0, x1, x2, y0, y1, y2;
  plain one(.clk(clk), .rst(1'b0), .a(a), .d(d), .b(b), .fresh(fresh), .o0(x0), .o1(x1), .o2(x2));
  other two(.clk(clk), .rst(1'b0), .a(a), .d(d), .b(b), .fresh(fresh), .o0(y0), .o1(y1), .o2(y2));
  // Small numbers often, and the largest ones.
  function [26:0] some(input integer kind, input [26:0] random);
    some = kind == 0 ? 27'h4000000 : kind == 1 ? 27'h3ffffff : kind < 5 ? random & 27'hff : random;
  endfunction
  integer n, i;
  initial begin
    // AMD's global reset takes the first 100 cycles.
    for (n = 0; n < CYCLES; n = n + 1) begin
      a = some($urandom % 8, $urandom);
      d = some($urandom % 8, $urandom);
      b = some($urandom % 8, $urandom);
      fresh = n < 200 || $urandom % 8 == 0;
      #500 clk = 1;
      #500 clk = 0;
      if (n >= 200 && (x0 !== y0 || x1 !== y1 || x2 !== y2)) begin
        $display("different in cycle %0d: %h %h, %h %h, %h %h", n, x0, y0, x1, y1, x2, y2);
        $finish;
      end
    end
    $display("equal for %0d cycles", n);
    $finish;
  end
endmodule
"""


class Modes(wiring.Component):
    """Every way in which attention multiplies: cascades that begin with a constant, that add their
    last result, and neither.
    """

    def __init__(self, *, dsp48e2: bool) -> None:
        self.dsp48e2 = dsp48e2
        super().__init__(
            {"a": In(signed(27)), "d": In(signed(27)), "b": In(signed(18)), "fresh": In(1)}
            | {f"o{n}": Out(signed(48)) for n in range(3)}
        )

    def elaborate(self, platform: object) -> Module:
        m: Any = Module()
        pipe = Pipe(m)
        multiplied = Products(pipe, dsp48e2=self.dsp48e2)
        a, b, also = (pipe.input(each) for each in (self.a, self.b, self.d))
        few = [pipe.input(each[:20].as_signed()) for each in (self.a, self.d)]
        fresh = pipe.input(self.fresh)
        summed = multiplied(few[0], b, also=few[1], constant=1 << 17)
        for n in range(1, 3):
            later = [pipe.delay(each, n) for each in (a, b, also)]
            summed = multiplied(*later[:2], also=later[2], above=summed)
        kept = multiplied(a, b, fresh=fresh)
        weighed = multiplied(a, b)
        weighed = multiplied(
            pipe.delay(a, 1), pipe.delay(b, 1), above=weighed, fresh=pipe.delay(fresh, 1)
        )
        for n, each in enumerate((summed, kept, weighed)):
            m.d.comb += getattr(self, f"o{n}").eq(each.timed.value)
        return m


def compared(folder: Path, sources: list[str], cycles: int, more: str = "") -> str:
    """Run the two side by side under Verilator, and return what it printed."""
    texts = [written(Modes(dsp48e2=False), "plain"), written(Modes(dsp48e2=True), "other")]
    driver = DRIVER.replace("CYCLES", str(cycles)).replace("MORE", more)
    (folder / "top.v").write_text("\n".join([*texts, driver]))
    subprocess.run(
        [find_verilator().program, "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-Wno-style",
         "--top-module", "driver", "top.v", *sources],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    done = subprocess.run([folder / "obj_dir" / "Vdriver"], capture_output=True, text=True)
    return done.stdout


def test_dsp48e2_equals_what_is_written_out(tmp_path):
    assert "equal for 20000 cycles" in compared(tmp_path, [str(DSP)], 20_000)


@pytest.mark.skipif(not UNISIMS, reason="UNISIMS does not name the folder of AMD's unisims")
def test_equals_amds_model(tmp_path):
    """But for what it says of inputs that float, since Verilator knows no such thing."""
    for name in ("unisims/DSP48E2.v", "glbl.v"):
        text = (Path(UNISIMS) / name).read_text()
        text = re.sub(r"\((\S+) !== 1'bz\)", "1'b1", re.sub(r"\((\S+) === 1'bz\)", "1'b0", text))
        (tmp_path / Path(name).name).write_text(text)
    found = compared(tmp_path, ["DSP48E2.v", "glbl.v"], 1_000_000, "glbl glbl();")
    assert "equal for 1000000 cycles" in found


def test_a_cascade_in_another_cycle_is_refused():
    m: Any = Module()
    m._MustUse__silence = True
    pipe = Pipe(m)
    multiplied = Products(pipe, dsp48e2=False)
    one = multiplied(pipe.input(0), pipe.input(0))
    with pytest.raises(ValueError, match="takes a cascade of cycle 2, not of 3"):
        multiplied(pipe.input(0), pipe.input(0), above=one)
