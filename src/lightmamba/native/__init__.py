"""The compiled kernels of the integer engine: a C++ library, found, opened and described.

The library holds the same kernels for several instruction sets; :func:`best_isa` tells which one
this processor runs. Where there is no library (an installation without a compiler),
:func:`available` is False and the engine runs on numpy.
"""

from lightmamba.native.library import (
    ISAS,
    Context,
    available,
    best_isa,
    chosen,
    context,
    usable_isas,
)
from lightmamba.native.structs import (
    KINDS,
    LOSSES,
    Blocks,
    Layer,
    Linear,
    LinearOp,
    Model,
    PackOp,
    Panel,
    Phase,
    QuantizeOp,
    RmsOp,
    Sequences,
    Slot,
    Tables,
    Transform,
    Work,
)

__all__ = [
    "ISAS", "KINDS", "LOSSES", "Blocks", "Context", "Layer", "Linear", "LinearOp", "Model",
    "PackOp", "Panel", "Phase", "QuantizeOp", "RmsOp", "Sequences", "Slot", "Tables", "Transform",
    "Work", "available", "best_isa", "chosen", "context", "usable_isas",
]  # fmt: skip
