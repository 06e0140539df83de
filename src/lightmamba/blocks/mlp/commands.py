"""Commands of an MLP for the accelerator, and its limits."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import GROUP
from lightmamba.arch.target import Target
from lightmamba.blocks.mlp.quantized import Mixer
from lightmamba.blocks.mlp.sizes import Sizes
from lightmamba.numerics.model_formats import Formats

__all__ = [
    "capacities", "commands", "in_sections", "job_sizes", "queues", "refusals", "row_kinds",
]  # fmt: skip


def capacities(sizes: Sizes) -> dict[str, int]:
    """Capacities of the accelerator that a layer needs, besides those of its projections: none."""
    return {}


def refusals(sizes: Sizes, formats: Formats) -> Iterator[str]:
    """Reasons why the hardware cannot run a layer."""
    if (size := formats.transform.size(sizes.d_hidden)) > GROUP:
        yield (
            f"the model's Hadamard transform has order {size} (all hidden channels), but that of "
            f"the hardware at most {GROUP}; quantize with hadamard {GROUP}"
        )


def queues(sizes: Sizes, target: Target, order: str) -> Iterator[str]:
    """Queues of a target that are too short for a layer."""
    if order == "naive" and sizes.gated:
        yield (
            "in the naive order all rows of a come before those of b, and an MLP has no queue "
            "that holds them; compile in the order reordered"
        )


def job_sizes(sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
    """Sizes of the jobs of a layer, by the names of ``hardware.py``."""
    return {"d_hidden": sizes.d_hidden, "d_gated": sizes.d_hidden if sizes.gated else 0}


def row_kinds(sizes: Sizes, order: str) -> NDArray[np.int64]:
    """Kind of every row of in_proj, (in_rows,), in the order in which they come."""
    return np.arange(sizes.in_rows) % 2 if sizes.gated else np.zeros(sizes.in_rows, np.int64)


def in_sections(sizes: Sizes, order: str) -> list[tuple[str, int]]:
    """Kinds of the rows of in_proj in the order in which they come, and how many of each."""
    return [("a|b" if sizes.gated else "a", sizes.in_rows)]


def commands(mixer: Mixer, formats: Formats, arch: ArchConfig) -> Mapping[str, dict[str, Any]]:
    """Commands of the units between in_proj and the quantizer of out_proj's input."""
    n = mixer.sizes.d_hidden
    return {
        "hidden": {
            "count": n,
            "gated": int(mixer.sizes.gated),
            "silu": mixer.silu,
            "shift": mixer.shift,
        },
        "hadamard": {
            "groups": 1,
            "group_dim": n,
            "pad": formats.transform.padded(n) - n,
            "order_log2": formats.transform.size(n).bit_length() - 1,
            "shift": mixer.exponents.hadamard_shift,
        },
    }
