"""Commands of attention for the accelerator, and its limits."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import GROUP, WORD
from lightmamba.arch.target import Target
from lightmamba.blocks.attention.hardware import HARDWARE
from lightmamba.blocks.attention.layout import position_words
from lightmamba.blocks.attention.quantized import Mixer
from lightmamba.blocks.attention.sizes import Sizes
from lightmamba.numerics.model_formats import Formats

__all__ = [
    "SEARCHED", "capacities", "commands", "in_sections", "job_sizes", "queues", "refusals",
    "row_kinds",
]  # fmt: skip

# Choices of a target that `explore` searches where a model has such layers.
SEARCHED = {
    "attention_channels": (32, 64, 128, 256),
    "attention_rows": (1, 2, 4, 8, 16),
    "row_fifo": (64, 128, 256, 512, 1024),
}
HEAD_DIM = 256  # channels of a head, at most
ROWS = [row.name for row in HARDWARE.rows]


def capacities(sizes: Sizes) -> dict[str, int]:
    """Capacities of the accelerator that a layer needs, besides those of its projections."""
    return {
        "kv_heads": sizes.n_kv_heads,
        "per_group": sizes.per_group,
        "head_dim": sizes.head_dim,
    }


def refusals(sizes: Sizes, formats: Formats) -> Iterator[str]:
    """Reasons why the hardware cannot run a layer."""
    if (size := formats.transform.size(sizes.out_dim)) > GROUP:
        yield (
            f"the model's Hadamard transform has order {size} (all heads of attention), but that "
            f"of the hardware at most {GROUP}; quantize with hadamard {GROUP}"
        )
    if sizes.head_dim % WORD:
        yield (
            f"attention has head_dim {sizes.head_dim}, but the hardware takes multiples of {WORD}; "
            f"run the model on the engine"
        )
    most = {(unit, f.name): f.max for unit, fields in HARDWARE.commands.items() for f in fields}
    for what, value, top in (
        ("a head_dim of {:,}", sizes.head_dim, HEAD_DIM),
        ("{:,} heads of keys", sizes.n_kv_heads, most["attention", "heads"]),
        ("{:,} queries for each head of keys", sizes.per_group, most["attention", "per_group"]),
        ("{:,} rows of q, k and v", sizes.in_rows, most["qkv", "count"]),
    ):
        if value > top:
            yield (
                f"attention has {what.format(value)}, but the hardware takes at most {top:,}; "
                f"run the model on the engine"
            )


def queues(sizes: Sizes, target: Target, order: str) -> Iterator[str]:
    """Queues of a target that are too short for a layer: none."""
    yield from ()


def job_sizes(sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
    """Sizes of the jobs of a layer, by the names of ``hardware.py``."""
    words = sizes.n_kv_heads * (1 + position_words(sizes, arch))
    return {
        "qkv_channels": sizes.in_rows,
        "mean_channels": sizes.out_dim,
        "kv_words": words,
        "kv_before": words,
    }


def row_kinds(sizes: Sizes, order: str) -> NDArray[np.int64]:
    """Kind of every row of in_proj, (in_rows,), in the order in which they come."""
    found = np.empty(sizes.in_rows, np.int64)
    for name, place in sizes.sections().items():
        found[place] = ROWS.index(name)
    return found


def in_sections(sizes: Sizes, order: str) -> list[tuple[str, int]]:
    """Kinds of the rows of in_proj in the order in which they come, and how many of each."""
    return [(name, part.stop - part.start) for name, part in sizes.sections().items()]


def commands(mixer: Mixer, formats: Formats, arch: ArchConfig) -> Mapping[str, dict[str, Any]]:
    """Commands of the units between in_proj and the quantizer of out_proj's input."""
    c, n = mixer.sizes, mixer.sizes.out_dim
    turns = -(-c.per_group // arch.attention_rows)
    return {
        "qkv": {"count": c.in_rows, "head_dim": c.head_dim},
        "attention": {
            "heads": c.n_kv_heads,
            "per_group": c.per_group,
            "head_dim": c.head_dim,
            "parts": -(-c.head_dim // arch.position_channels),
            "turns": turns,
            "last_rows": c.per_group - (turns - 1) * arch.attention_rows,
            "score": mixer.score,
            "mean": mixer.mean,
        },
        "hadamard": {
            "groups": 1,
            "group_dim": n,
            "pad": formats.transform.padded(n) - n,
            "order_log2": formats.transform.size(n).bit_length() - 1,
            "shift": mixer.exponents.hadamard_shift,
        },
    }
