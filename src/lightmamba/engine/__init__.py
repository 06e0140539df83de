"""The integer engine: a quantized model's tokens, bit-exact, with numpy and a compiled path."""

from lightmamba.engine.engine import Engine, Observe
from lightmamba.engine.state import State

__all__ = ["Engine", "Observe", "State"]
