"""What the accelerator is told about a Mamba2 layer, and what of one it cannot run."""

from collections.abc import Iterator, Mapping
from typing import Any

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP, TAPS
from lightmamba.arch.machine import BLOCKS_HELD
from lightmamba.arch.program import COMMANDS, Kind
from lightmamba.arch.target import Target
from lightmamba.blocks.mamba2.quantized import Constants, Mixer
from lightmamba.blocks.mamba2.sizes import Sizes
from lightmamba.blocks.mamba2.state import padded_state
from lightmamba.formats import Formats

__all__ = ["capacities", "commands", "in_sections", "queues", "refusals"]


def capacities(sizes: Sizes) -> dict[str, int]:
    """Capacities of the accelerator that a layer needs, by build parameter."""
    padded = -(-sizes.d_state // BLOCK) * BLOCK
    return {"heads": sizes.nheads, "groups": sizes.ngroups, "padded_state": padded}


def refusals(sizes: Sizes, formats: Formats) -> Iterator[str]:
    """What the hardware's arithmetic or the fields of its commands do not cover."""
    if (size := formats.transform.size(sizes.group_dim)) > GROUP:
        yield (
            f"the model's Hadamard transform has order {size} (a whole norm group), but that of "
            f"the gates at most {GROUP}; quantize with hadamard {GROUP}"
        )
    if sizes.d_conv > TAPS:
        yield f"the model has d_conv {sizes.d_conv}, but the gates at most {TAPS} taps"
    most = {(unit, f.name): f.max for unit, fields in COMMANDS.items() for f in fields}
    for name, value, top in (
        ("headdim", sizes.headdim, most["ssm", "headdim"]),
        ("nheads", sizes.nheads, most["ssm", "heads"]),
        ("ngroups", sizes.ngroups, most["bc", "groups"]),
        ("d_state", sizes.d_state, 256),
        ("conv_dim (x, B and C)", sizes.conv_dim, most["conv", "count"]),
        ("d_inner", sizes.d_inner, most["gate", "count"]),
    ):
        if value > top:
            yield f"the model has {name} {value}, but the gates take at most {top}"


def queues(sizes: Sizes, target: Target, order: str) -> Iterator[str]:
    """Queues of a target that are too short for a layer."""
    machine = target.machine
    if order == "naive":  # dt comes last, so that all of z and x wait
        for name in ("x_queue", "z_queue"):
            if (depth := getattr(machine, name)) < sizes.d_inner:
                yield (
                    f"in the naive order {name} holds all {sizes.d_inner} channels of d_inner, but "
                    f"that of target {target.name} has {depth}; set {name} = {sizes.d_inner} in "
                    f"the [machine] table of a copy of it, or compile with --order reordered"
                )
        return
    # While x of a head comes by turns with z of the one before, up to a head of x waits for z.
    # Rows of z wait for nothing but x that came before them, so z_queue may be as short as it is.
    needed, depth = sizes.headdim - BLOCKS_HELD, machine.x_queue
    if depth < needed:
        yield (
            f"x_queue and the {BLOCKS_HELD} channels that wait for their exponents hold one head "
            f"of headdim {sizes.headdim}, but x_queue of target {target.name} is {depth}; set "
            f"x_queue = {needed} in the [machine] table of a copy of it"
        )


def in_sections(sizes: Sizes, order: str) -> list[tuple[Kind, int]]:
    """Kinds of the rows of in_proj in the order in which they come, and how many of each."""
    size = {kind: part.stop - part.start for kind, part in sizes.sections().items()}
    kinds = ("z", "x", "B", "C", "dt") if order == "naive" else ("dt", "B", "C")
    sections = [(Kind[kind.upper()], size[kind]) for kind in kinds]
    if order != "naive":
        turns = size["x"] + size["z"] - 2 * sizes.headdim
        sections += [(Kind.X, sizes.headdim), (Kind.XZ, turns), (Kind.Z, sizes.headdim)]
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
            "pad": arch.out_channels // c.ngroups - c.group_dim,
            "order_log2": order.bit_length() - 1,
            "shift": k.hadamard,
        },
    }
