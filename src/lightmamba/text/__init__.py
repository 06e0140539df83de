"""From a prompt to text, on whatever computes the logits."""

from lightmamba.text.chat import render_chat
from lightmamba.text.continuation import Continuation, Decoder, Step
from lightmamba.text.decoder import DeviceDecoder, DeviceSequence
from lightmamba.text.defaults import sampling_options
from lightmamba.text.drafting import Drafter, ModelDrafter, NgramDrafter, PiecewiseDrafter
from lightmamba.text.generation import Context, Generation, Speculation, generate
from lightmamba.text.pace import Pace

__all__ = [
    "Context", "Continuation", "Decoder", "DeviceDecoder", "DeviceSequence", "Drafter",
    "Generation", "ModelDrafter", "NgramDrafter", "Pace", "PiecewiseDrafter", "Speculation",
    "Step", "generate", "render_chat", "sampling_options",
]  # fmt: skip
