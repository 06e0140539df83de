"""The RTL through open synthesis tools: area by block, longest path, place and route, bitstream."""

from lightmamba.hardware.synth.board import Clock, Routed, bitstream
from lightmamba.hardware.synth.ecp5 import netlist_of, place
from lightmamba.hardware.synth.flow import Flow, write_flow
from lightmamba.hardware.synth.netlist import models_verilog, netlist_verilog
from lightmamba.hardware.synth.placed import Placed
from lightmamba.hardware.synth.result import BlockReport, LongestPath, Synthesis
from lightmamba.hardware.synth.xcup import synthesize

__all__ = [
    "BlockReport", "Clock", "Flow", "LongestPath", "Placed", "Routed", "Synthesis", "bitstream",
    "models_verilog", "netlist_of", "netlist_verilog", "place", "synthesize", "write_flow",
]  # fmt: skip
