"""Data that the project ships: six novels, three small trained models, and their quantized files.

The float weights of the one with experts are in the repository only, to keep the wheel small.
"""

import lzma
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from lightmamba.common.errors import InputError

__all__ = [
    "BUNDLED", "EXPERTS", "HYBRID", "SHIPPED", "austen", "bundled_checkpoint", "bundled_file",
    "demo_checkpoint", "demo_file", "experts_checkpoint", "experts_file", "heldout",
    "hybrid_checkpoint", "hybrid_file", "split_heldout",
]  # fmt: skip

SHIPPED = "shipped"  # name of the held-out text where a user names a text
# Names of the models, where no file has them.
BUNDLED, HYBRID, EXPERTS = "bundled", "bundled-hybrid", "bundled-experts"
HELDOUT = 0.03  # the last part of a text, by characters, that training may not see
VALIDATION = 0.005  # the part before it, to watch a run by


def split_heldout(text: str) -> tuple[str, str, str]:
    """Cut a text into (training, validation, held-out) by characters."""
    held = int(len(text) * (1 - HELDOUT))
    valid = int(len(text) * (1 - HELDOUT - VALIDATION))
    return text[:valid], text[valid:held], text[held:]


def austen() -> tuple[str, str, str]:
    """The six novels of Jane Austen (public domain), split as :func:`split_heldout` does."""
    data = (resources.files(__name__) / "austen.txt.xz").read_bytes()
    return split_heldout(lzma.decompress(data).decode("utf-8"))


def heldout() -> str:
    """The end of the novels, which neither training nor calibration has seen."""
    return austen()[2]


def demo_checkpoint() -> Path:
    """Folder of the bundled model, in transformers' layout."""
    return _shipped("demo", "lightmamba.model.train")


def demo_file() -> Path:
    """The bundled model, quantized by the recipe w4a4."""
    return _shipped("demo-w4a4.safetensors", "lightmamba quantize")


def hybrid_checkpoint() -> Path:
    """Folder of the bundled hybrid of Mamba2, attention and MLP layers, in Granite's layout."""
    return _shipped("hybrid", "lightmamba.model.train")


def hybrid_file() -> Path:
    """The bundled hybrid, quantized by the recipe w4a4."""
    return _shipped("hybrid-w4a4.safetensors", "lightmamba quantize")


def experts_checkpoint() -> Path:
    """Folder of the bundled mixture of experts, in Granite's layout."""
    folder = _shipped("experts", "lightmamba.model.train")
    if not (folder / "model.safetensors").exists():
        raise InputError(
            f"{EXPERTS} is installed as a quantized file only; its float weights are in the "
            f"project's repository, in src/lightmamba/model/data/experts"
        )
    return folder


def experts_file() -> Path:
    """The bundled mixture of experts, quantized by the recipe w4a4."""
    return _shipped("experts-w4a4.safetensors", "lightmamba quantize")


def bundled_file(name: str) -> str:
    """Path of a quantized file that the package ships, if ``name`` asks for it; else ``name``."""
    return _own(name, {BUNDLED: demo_file, HYBRID: hybrid_file, EXPERTS: experts_file})


def bundled_checkpoint(name: str) -> str:
    """Folder of a checkpoint that the package ships, if ``name`` asks for it; else ``name``."""
    known = {BUNDLED: demo_checkpoint, HYBRID: hybrid_checkpoint, EXPERTS: experts_checkpoint}
    return _own(name, known)


def _own(name: str, shipped: Mapping[str, Callable[[], Path]]) -> str:
    return str(shipped[name]()) if name in shipped and not Path(name).exists() else name


def _shipped(name: str, maker: str) -> Path:
    path = Path(__file__).parent / name
    if not path.exists():
        raise InputError(f"this installation lacks {name}; install it again, or make it: {maker}")
    return path
