"""From a quantized model and a target to a build directory: images, program, register values."""

from lightmamba.hardware.compiler.driver import build
from lightmamba.hardware.compiler.plan import ORDERS, fitting, plan
from lightmamba.hardware.compiler.source import open_model, read_build, sizes

__all__ = ["ORDERS", "build", "fitting", "open_model", "plan", "read_build", "sizes"]
