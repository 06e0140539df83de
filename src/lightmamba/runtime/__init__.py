"""From a prompt to text, on whatever computes the logits."""

from lightmamba.runtime.chat import render_chat
from lightmamba.runtime.decoder import DeviceDecoder, DeviceSequence
from lightmamba.runtime.defaults import sampling_options
from lightmamba.runtime.generation import Continuation, Decoder, Generation, Step, generate

__all__ = [
    "Continuation", "Decoder", "DeviceDecoder", "DeviceSequence", "Generation", "Step", "generate",
    "render_chat", "sampling_options",
]  # fmt: skip
