"""Quantize Mamba2 to 4 bits and run it in exact integers, bit-exact with the accelerator.

The names below load what they need when they are first used: this import itself loads neither numpy
nor torch.
"""

import os
from importlib import import_module
from typing import Any

# Torch's threads that wait in a loop slow each other down twentyfold where others use the cores
# too. OpenMP reads this once, so it has no effect if torch was imported first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "Model": "facade",
    "load": "facade",
    "quantize": "facade",
    "generate": "facade",
    "compile": "facade",
    "simulate": "facade",
    "ModelConfig": "model.config",
    "load_checkpoint": "model.checkpoint",
    "Recipe": "quantization",
    "quantize_checkpoint": "quantization",
    "QuantizedModel": "model.qmodel",
    "Engine": "engine",
    "perplexity": "evaluate",
}

__all__ = [
    "Engine", "Model", "ModelConfig", "QuantizedModel", "Recipe", "compile", "generate", "load",
    "load_checkpoint", "perplexity", "quantize", "quantize_checkpoint", "simulate",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("lightmamba")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
