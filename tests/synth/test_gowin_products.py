"""Products on the multipliers of a GW5A: equal to the product, for every way that widths map."""

import itertools
import random
import re

import pytest

from lightmamba.synth.gowin import MAP, PRODUCTS
from lightmamba.synth.tools import find_yosys

from .machines import needs_yosys

pytestmark = needs_yosys

# What the cells do with these parameters and constants: signed products, C added. The tool that
# writes bitstreams, and boards, agree (yosys' pull request 6033); the vendor's models were not run.
CELLS = """
module MULT12X12 (output [23:0] DOUT, input [11:0] A, B, input [1:0] CLK, CE, RESET);
  assign DOUT = $signed(A) * $signed(B);
endmodule
module MULTALU27X18 (output [47:0] DOUT, input [26:0] A, SIA, input [17:0] B, input [47:0] C, CASI,
    input [25:0] D, input ACCSEL, PSEL, ASEL, PADDSUB, CSEL, CASISEL,
    input [1:0] ADDSUB, CLK, CE, RESET);
  parameter C_SEL = 1'b1;
  wire signed [44:0] product = $signed(A) * $signed(B);
  assign DOUT = product + $signed(C_SEL || CSEL ? C : 48'b0);
endmodule
"""
SHAPES = [  # signed, bits of both factors and of the product, and cells
    (True, 8, 8, 16, {"MULT12X12": 1}),
    (True, 11, 7, 18, {"MULT12X12": 1}),
    (False, 11, 11, 22, {"MULT12X12": 1}),
    (True, 8, 9, 8, {"MULT12X12": 1}),  # its low bits only
    (True, 9, 9, 24, {"MULT12X12": 1}),  # more bits than it has
    (True, 12, 12, 24, {"MULTALU27X18": 1}),
    (True, 27, 18, 45, {"MULTALU27X18": 1}),
    (True, 18, 27, 45, {"MULTALU27X18": 1}),
    (True, 7, 24, 30, {"MULTALU27X18": 1}),
    (False, 26, 17, 43, {"MULTALU27X18": 1}),
    (False, 17, 20, 37, {"MULTALU27X18": 1}),
    (True, 28, 18, 46, {"MULTALU27X18": 1}),  # cut; what is left is LUTs
    (True, 27, 19, 46, {"MULTALU27X18": 1}),
    (False, 27, 18, 45, {"MULTALU27X18": 1}),
    (True, 40, 30, 70, {"MULTALU27X18": 4}),
    (True, 6, 18, 24, {}),  # LUTs
]


def mapped(folder, signed, a, b, y, rest):
    """Run the project's mapping on a product, then ``rest``; what yosys printed."""
    sign = "signed" if signed else ""
    (folder / "product.v").write_text(
        f"module top (input {sign} [{a - 1}:0] a, input {sign} [{b - 1}:0] b, "
        f"output {sign} [{y - 1}:0] y); assign y = a * b; endmodule\n"
    )
    (folder / "cells.v").write_text(CELLS)
    (folder / MAP.name).write_text(MAP.read_text())
    script = f"""
read_verilog product.v
read_verilog -lib cells.v
hierarchy -top top
proc
opt
wreduce
design -save before
{PRODUCTS}
opt_clean
tee -o count.txt stat top
read_verilog -overwrite cells.v
hierarchy -top top
proc
flatten top
opt_clean top
{rest}
"""
    (folder / "script.ys").write_text(script)
    return find_yosys().run(["-s", "script.ys"], folder)


def values(bits, signed):
    """Extremes of a factor, and some between."""
    low = -(1 << bits - 1) if signed else 0
    high = low + (1 << bits) - 1
    draw = random.Random(bits)
    return sorted({low, low + 1, -1 if signed else 0, 0, 1, high - 1, high,
                   *(draw.randint(low, high) for _ in range(4))})  # fmt: skip


@pytest.mark.parametrize(("signed", "a", "b", "y", "cells"), SHAPES)
def test_products_are_right_at_the_extremes(tmp_path, signed, a, b, y, cells):
    pairs = list(itertools.product(values(a, signed), values(b, signed)))
    evals = "\n".join(
        f"eval -set a {a}'d{m % (1 << a)} -set b {b}'d{n % (1 << b)} -show y top" for m, n in pairs
    )
    said = mapped(tmp_path, signed, a, b, y, evals)
    found = [int(bits, 2) for bits in re.findall(r"Eval result: \\y = \d+'([01]+)\.", said)]
    assert found == [m * n % (1 << y) for m, n in pairs]
    counted = (tmp_path / "count.txt").read_text()
    for name in ("MULT12X12", "MULTALU27X18"):
        seen = re.search(rf"(\d+) +{name}$|{name} +(\d+)$", counted, re.MULTILINE)
        assert int(next(filter(None, seen.groups())) if seen else 0) == cells.get(name, 0)


def test_a_small_product_is_proved(tmp_path):
    """Every value of both factors, by a SAT solver."""
    said = mapped(
        tmp_path, True, 7, 7, 14,
        "design -copy-from before -as gold top\n"
        "miter -equiv -flatten gold top miter\nsat -verify -prove trigger 0 miter",
    )  # fmt: skip
    assert "SAT proof finished - no model found: SUCCESS!" in said
