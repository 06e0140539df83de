"""The RTL through open synthesis tools: area by block, longest path, place and route."""

from lightmamba.synth.ecp5 import place
from lightmamba.synth.placed import Placed
from lightmamba.synth.result import BlockReport, LongestPath, Synthesis
from lightmamba.synth.xcup import synthesize

__all__ = ["BlockReport", "LongestPath", "Placed", "Synthesis", "place", "synthesize"]
