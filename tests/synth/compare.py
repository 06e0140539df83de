"""Verilog beside netlists of it in one Verilator, with the same random inputs."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["differences"]

FLAGS = ("--cc", "--exe", "--build", "-j", "1", "-O3", "--x-assign", "0", "--x-initial", "0")
QUIET = ("--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--prefix", "Vbench")
COMPILER = ("-CFLAGS", "-w", "-MAKEFLAGS", "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0")
# The second clock has five edges where the first has three, and never one at the same time.
MAIN = """\
#include "Vbench.h"
#include <cstdio>
int main() {
  Vbench top;
  for (long now = 0; now < 30L * CYCLES; ++now) {
    top.clk = now / 15 & 1;
    top.clk2 = (now + 4) / 9 & 1;
    top.eval();
  }
  for (int n = 0; n < COUNT; ++n) std::printf("%u\\n", top.seen[n]);
}
"""


def differences(
    folder: Path, rtl: str, nets: Mapping[str, str], ports: Mapping[str, Any], inputs: str,
    cycles: int = 5_000,
) -> dict[str, dict[str, int]]:  # fmt: skip
    """Edges of ``clk`` at which outputs differ from those of the RTL, by netlist and output.

    Parameters
    ----------
    folder
        Empty; holds the build.
    rtl
        Text with a module ``rtl``.
    nets
        Text with a module of each name.
    ports
        Of the modules, as a netlist of yosys has them; ``clk`` and ``clk2`` come from outside.
    inputs
        Statements that give new values to the other inputs, at the end of each cycle of ``clk``;
        they may use the words ``first`` and ``second``.
    cycles
        Of ``clk``.
    """
    given = {n: len(p["bits"]) for n, p in ports.items() if p["direction"] == "input"}
    out = {n: len(p["bits"]) for n, p in ports.items() if p["direction"] == "output"}
    own = {n: bits for n, bits in given.items() if n not in ("clk", "clk2")}
    lines = ["module bench(input clk, input clk2, output reg [31:0] seen[0:COUNT-1]);"]
    lines += [f"reg [{bits - 1}:0] {name} = 0;" for name, bits in own.items()]
    lines += ["reg [31:0] first, second;", f"always @(negedge clk) begin {inputs} end"]
    wired = [f".{name}({name})" for name in given]
    for net in ("rtl", *nets):
        lines += [f"wire [{bits - 1}:0] {net}__{name};" for name, bits in out.items()]
        pins = ", ".join([*wired, *(f".{name}({net}__{name})" for name in out)])
        lines.append(f"{net} i_{net} ({pins});")
    pairs = [(net, name) for net in nets for name in out]
    compared = [
        f"if (rtl__{name} != {net}__{name}) seen[{n}] <= seen[{n}] + 1;"
        for n, (net, name) in enumerate(pairs)
    ]
    start = " ".join(f"seen[{n}] = 0;" for n in range(len(pairs)))
    lines += [f"initial begin {start} end"]
    # At both edges, as some registers take a value at the other one.
    lines += ["always @(posedge clk or negedge clk) begin", *compared, "end", "endmodule", ""]
    text = "\n".join(lines).replace("COUNT", str(len(pairs)))
    (folder / "all.v").write_text("\n".join([text, rtl, *nets.values()]))
    main = MAIN.replace("COUNT", str(len(pairs))).replace("CYCLES", str(cycles))
    (folder / "main.cpp").write_text(main)
    command = ["verilator", *FLAGS, *QUIET, *COMPILER, "--top-module", "bench", "all.v", "main.cpp"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    done = subprocess.run([folder / "obj_dir/Vbench"], check=True, capture_output=True, text=True)
    found: dict[str, dict[str, int]] = {net: {} for net in nets}
    for (net, name), count in zip(pairs, map(int, done.stdout.split()), strict=True):
        if count:
            found[net][name] = count
    return found
