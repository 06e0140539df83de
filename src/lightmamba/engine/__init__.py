"""The integer engine: a quantized model's tokens, bit-exact, with numpy and a compiled path."""

from lightmamba.engine.digest import Difference, Digests, digest, first_difference
from lightmamba.engine.engine import Engine, Observe
from lightmamba.engine.reference import one_blas_thread
from lightmamba.engine.state import State
from lightmamba.native import chosen

__all__ = [
    "Difference", "Digests", "Engine", "Observe", "State", "chosen", "digest",
    "first_difference", "one_blas_thread",
]  # fmt: skip
