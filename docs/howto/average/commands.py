"""Commands of an average for the accelerator, and its limits."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import GROUP
from lightmamba.arch.target import Target
from lightmamba.numerics.model_formats import Formats

from .hardware import HARDWARE
from .quantized import Mixer
from .sizes import Sizes

__all__ = [
    "capacities", "commands", "in_sections", "job_sizes", "queues", "refusals", "row_kinds",
]  # fmt: skip


def capacities(sizes: Sizes) -> dict[str, int]:
    """Capacities of the accelerator that a layer needs, besides those of its projections: none."""
    return {}


def refusals(sizes: Sizes, formats: Formats) -> Iterator[str]:
    """Reasons why the hardware cannot run a layer."""
    if (size := formats.transform.size(sizes.channels)) > GROUP:
        yield (
            f"the model's Hadamard transform has order {size} (all channels), but that of the "
            f"hardware at most {GROUP}; quantize with hadamard {GROUP}"
        )
    top = HARDWARE.commands["average"][0].max
    if sizes.channels > top:
        yield f"the model has channels {sizes.channels}, but the hardware takes at most {top}"


def queues(sizes: Sizes, target: Target, order: str) -> Iterator[str]:
    """Queues of a target that are too short for a layer: it needs none."""
    yield from ()


def job_sizes(sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
    """Sizes of the jobs of a layer, by the names of ``hardware.py``."""
    return {"averaged": sizes.channels, "values_before": arch.context * sizes.channels // 4}


def row_kinds(sizes: Sizes, order: str) -> NDArray[np.int64]:
    """Kind of every row of in_proj, (in_rows,), in the order in which they come."""
    return np.zeros(sizes.in_rows, np.int64)


def in_sections(sizes: Sizes, order: str) -> list[tuple[str, int]]:
    """Kinds of the rows of in_proj in the order in which they come, and how many of each."""
    return [("v", sizes.channels)]


def commands(mixer: Mixer, formats: Formats, arch: ArchConfig) -> Mapping[str, dict[str, Any]]:
    """Commands of the units between in_proj and the quantizer of out_proj's input."""
    n, e = mixer.sizes.channels, mixer.exponents
    return {
        "average": {"count": n, "shift": e.shift},
        "hadamard": {
            "groups": 1,
            "group_dim": n,
            "pad": formats.transform.padded(n) - n,
            "order_log2": formats.transform.size(n).bit_length() - 1,
            "shift": e.hadamard_shift,
        },
    }
