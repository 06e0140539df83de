"""Commands of a Mamba2 layer for the accelerator, and its limits."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, BLOCKS_HELD, GROUP, TAPS
from lightmamba.arch.target import Target
from lightmamba.blocks.mamba2.hardware import HARDWARE
from lightmamba.blocks.mamba2.layout import parameter_words, row_order, words
from lightmamba.blocks.mamba2.quantized import Constants, Mixer
from lightmamba.blocks.mamba2.sizes import Sizes
from lightmamba.blocks.mamba2.state import padded_state
from lightmamba.numerics.model_formats import Formats

__all__ = [
    "block_ends", "capacities", "commands", "in_sections", "job_sizes", "queues", "refusals",
    "row_kinds",
]  # fmt: skip


ROWS = [row.name for row in HARDWARE.rows]


def capacities(sizes: Sizes) -> dict[str, int]:
    """Capacities of the accelerator that a layer needs, by build parameter."""
    padded = -(-sizes.d_state // BLOCK) * BLOCK
    return {
        "heads": sizes.nheads,
        "groups": sizes.ngroups,
        "padded_state": padded,
        "head_rows": sizes.headdim,
    }


def refusals(sizes: Sizes, formats: Formats) -> Iterator[str]:
    """Reasons why the hardware cannot run a layer."""
    if (size := formats.transform.size(sizes.group_dim)) > GROUP:
        yield (
            f"the model's Hadamard transform has order {size} (a whole norm group), but that of "
            f"the hardware at most {GROUP}; quantize with hadamard {GROUP}"
        )
    if sizes.d_conv > TAPS:
        yield f"the model has d_conv {sizes.d_conv}, but the hardware at most {TAPS} taps"
    most = {(unit, f.name): f.max for unit, fields in HARDWARE.commands.items() for f in fields}
    for name, value, top in (
        ("headdim", sizes.headdim, most["ssm", "headdim"]),
        ("nheads", sizes.nheads, most["ssm", "heads"]),
        ("ngroups", sizes.ngroups, most["bc", "groups"]),
        ("d_state", sizes.d_state, 256),
        ("conv_dim (x, B and C)", sizes.conv_dim, most["conv", "count"]),
        ("d_inner", sizes.d_inner, most["gate", "count"]),
    ):
        if value > top:
            yield f"the model has {name} {value}, but the hardware takes at most {top}"


def queues(sizes: Sizes, target: Target, order: str) -> Iterator[str]:
    """Queues of a target that are too short for a layer."""
    machine = target.machine
    if order == "naive" and machine.undecided:
        yield (
            f"in the naive order x comes before dt, but the record of undecided tokens, which "
            f"target {target.name} has, begins with dt; compile in the order reordered"
        )
        return
    if order == "naive":  # dt comes last, so that all of z and x wait
        for name in ("x_queue", "z_queue"):
            if (depth := getattr(machine, name)) < sizes.d_inner:
                yield (
                    f"in the naive order {name} holds all {sizes.d_inner} channels of d_inner, but "
                    f"that of target {target.name} has {depth}; set {name} = {sizes.d_inner} in "
                    f"the [machine] table of a copy of it, or compile in the order reordered"
                )
        return
    # While x of a head alternates with z of the one before, up to a head of x waits for z.
    # Rows of z wait for nothing but x that came before them, so z_queue may be as short as it is.
    needed, depth = sizes.headdim - BLOCKS_HELD, machine.x_queue
    if depth < needed:
        yield (
            f"x_queue and the {BLOCKS_HELD} channels that wait for their exponents hold one head "
            f"of headdim {sizes.headdim}, but x_queue of target {target.name} is {depth}; set "
            f"x_queue = {needed} in the [machine] table of a copy of it"
        )


def job_sizes(sizes: Sizes, arch: ArchConfig) -> dict[str, int]:
    """Sizes of the jobs of a layer, by the names that the graph of the machine has for them."""
    head_words = sizes.headdim * arch.row_words // arch.word_rows
    return {
        "d_inner": sizes.d_inner,
        "conv_dim": sizes.conv_dim,
        "conv_words": parameter_words(sizes)["conv_params"],
        "nheads": sizes.nheads,
        "bc_channels": 2 * sizes.ngroups * sizes.d_state,
        "ngroups": sizes.ngroups,
        "group_dim": sizes.group_dim,
        "headdim": sizes.headdim,
        "head_words": head_words,
        "state_words": sizes.nheads * head_words,
        "row_words": arch.row_words,
        "record_words": words(sizes, arch)["record"],
    }


def row_kinds(sizes: Sizes, order: str) -> NDArray[np.int64]:
    """Kind of every row of in_proj, (in_rows,), in the order in which they come: place in ROWS."""
    found = np.empty(sizes.in_rows, np.int64)
    for name, place in sizes.sections().items():
        found[place] = ROWS.index(name)
    return found[row_order(sizes, order)]


def block_ends(sizes: Sizes, order: str, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Kind of every channel of the convolution, in their order, and those that end a block.

    Blocks of ``block`` channels restart with every head of x and every group of B and C.
    """
    kinds = row_kinds(sizes, order)
    x, b, c = (ROWS.index(name) for name in ("x", "B", "C"))
    kinds = kinds[np.isin(kinds, (x, b, c))]
    ends = np.zeros(len(kinds), np.bool_)
    runs = {x: sizes.headdim, b: sizes.d_state, c: sizes.d_state}
    for kind, run in runs.items():
        mine = kinds == kind
        place = np.arange(mine.sum()) % run
        ends[mine] = (place == run - 1) | (place % block == block - 1)
    return kinds, np.flatnonzero(ends)


def in_sections(sizes: Sizes, order: str) -> list[tuple[str, int]]:
    """Kinds of the rows of in_proj in the order in which they come, and how many of each.

    Two kinds, as ``x|z``, are rows that alternate.
    """
    size = {kind: part.stop - part.start for kind, part in sizes.sections().items()}
    kinds = ("z", "x", "B", "C", "dt") if order == "naive" else ("dt", "B", "C")
    sections = [(kind, size[kind]) for kind in kinds]
    if order != "naive":
        turns = size["x"] + size["z"] - 2 * sizes.headdim
        sections += [("x", sizes.headdim), ("x|z", turns), ("z", sizes.headdim)]
    return sections


def commands(mixer: Mixer, formats: Formats, arch: ArchConfig) -> Mapping[str, dict[str, Any]]:
    """Commands of the units between in_proj and the quantizer of out_proj's input."""
    c, k = mixer.sizes, Constants.of(mixer)
    order = formats.transform.size(c.group_dim)
    return {
        "discretize": {"count": c.nheads, "low": mixer.dt_low, "high": mixer.dt_high},
        "conv": {
            "count": c.conv_dim,
            **{
                f"silu_{kind}": int(k.conv_silu_shift[c.sections()[kind].start - c.d_inner])
                for kind in ("B", "C", "x")
            },
        },
        "blocks": {"count": c.conv_dim, "headdim": c.headdim, "d_state": c.d_state},
        "bc": {"groups": c.ngroups, "d_state": c.d_state},
        "ssm": {
            "heads": c.nheads,
            "per_group": c.nheads // c.ngroups,
            "headdim": c.headdim,
            "words": arch.row_words,
            "stride": padded_state(c, formats),
            "frame": k.frame,
            "y": k.y,
            "D_shift": k.D_shift,
            "dither": int(formats.state_rounding == "dither"),
        },
        "gate": {
            "count": c.d_inner,
            "group_dim": c.group_dim,
            "silu": k.z_silu,
            "shift": k.gate,
            "weighted": k.weighted,
        },
        "rms_out": {"count": c.ngroups, "eps": mixer.eps_gate},
        "hadamard": {
            "groups": c.ngroups,
            "group_dim": c.group_dim,
            "pad": formats.transform.padded(c.group_dim) - c.group_dim,
            "order_log2": order.bit_length() - 1,
            "shift": k.hadamard,
        },
    }
