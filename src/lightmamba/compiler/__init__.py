"""From a quantized model and a target to a build directory: images, program, register values."""

from lightmamba.compiler.driver import build
from lightmamba.compiler.plan import ORDERS, fitting, plan
from lightmamba.compiler.source import open_model, sizes

__all__ = ["ORDERS", "build", "fitting", "open_model", "plan", "sizes"]
