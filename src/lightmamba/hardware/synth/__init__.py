"""The RTL through open synthesis tools: area by block, longest path, place and route, bitstream."""

from lightmamba.hardware.synth.ecp5 import place
from lightmamba.hardware.synth.netlist import models_verilog, netlist_verilog
from lightmamba.hardware.synth.placed import Placed
from lightmamba.hardware.synth.result import BlockReport, LongestPath, Synthesis
from lightmamba.hardware.synth.xcup import synthesize

__all__ = [
    "BlockReport", "LongestPath", "Placed", "Synthesis", "models_verilog", "netlist_verilog",
    "place", "synthesize",
]  # fmt: skip
