"""From a prompt to text, on whatever computes the logits."""

from lightmamba.runtime.generation import Decoder, Generation, Step, generate

__all__ = ["Decoder", "Generation", "Step", "generate"]
