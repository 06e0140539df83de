"""The waist: the quantized model, in memory and as a file. Nothing below it knows of floats."""

from lightmamba.model.qmodel.check import validate
from lightmamba.model.qmodel.file import fingerprint, load, load_sizes, save, to_bytes
from lightmamba.model.qmodel.model import QuantizedLayer, QuantizedLinear, QuantizedModel, Table

__all__ = [
    "QuantizedLayer", "QuantizedLinear", "QuantizedModel", "Table",
    "fingerprint", "load", "load_sizes", "save", "to_bytes", "validate",
]  # fmt: skip
