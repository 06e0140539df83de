"""From a prompt to text, on whatever computes the logits."""

from lightmamba.runtime.chat import render_chat
from lightmamba.runtime.context import Context
from lightmamba.runtime.continuation import Continuation, Decoder, Step
from lightmamba.runtime.decoder import DeviceDecoder, DeviceSequence
from lightmamba.runtime.defaults import sampling_options
from lightmamba.runtime.drafting import Drafter, ModelDrafter, NgramDrafter, PiecewiseDrafter
from lightmamba.runtime.generation import Generation, generate
from lightmamba.runtime.pace import Pace
from lightmamba.runtime.speculation import Speculation, speculate

__all__ = [
    "Context", "Continuation", "Decoder", "DeviceDecoder", "DeviceSequence", "Drafter",
    "Generation", "ModelDrafter", "NgramDrafter", "Pace", "PiecewiseDrafter", "Speculation",
    "Step", "generate", "render_chat", "sampling_options", "speculate",
]  # fmt: skip
