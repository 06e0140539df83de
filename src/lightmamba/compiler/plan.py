"""Whether a target can run a model, and with which build parameters."""

from collections.abc import Iterator
from dataclasses import asdict, replace

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP, TAPS
from lightmamba.arch.machine import BLOCKS_HELD
from lightmamba.arch.manifest import ORDERS
from lightmamba.arch.program import COMMANDS
from lightmamba.arch.target import Target
from lightmamba.config import Mamba2Config
from lightmamba.errors import InputError
from lightmamba.qmodel import Formats

__all__ = ["CAPACITIES", "ORDERS", "fitting", "instructions", "plan"]

PROGRAM_STEP = 32  # so that models of a few layers more run on the same gates
STATES = (128, 64, 32)
CAPACITIES = ("in_channels", "out_channels", "heads", "groups", "padded_state", "program")


def plan(
    config: Mamba2Config, formats: Formats, target: Target, order: str = ORDERS[0]
) -> ArchConfig:
    """Build parameters of the machine of a target for one model.

    Raises
    ------
    InputError
        If the gates cannot run it, with the reason and the nearest that they can.
    """
    if order not in ORDERS:
        raise InputError(f"order must be {' or '.join(ORDERS)}, not {order!r}")
    for reason in (*_formats(config, formats), *_sizes(config), *_target(config, formats, target)):
        raise InputError(reason)
    (_naive if order == "naive" else _reordered)(config, target)
    machine = target.machine
    padded = -(-config.d_state // BLOCK) * BLOCK
    wide = next(s for s in STATES if s <= machine.state_elements and padded % s == 0)
    try:
        return replace(
            machine,
            state_elements=wide,
            state_fifo=min(1 << 16, machine.state_fifo * (machine.state_elements // wide)),
            weight_bits=formats.weight_bits,
            act_bits=formats.act_bits,
            head_act_bits=formats.head_act_bits,
            head_qmax=formats.head.act.qmax,
            in_channels=formats.in_channels(config),
            out_channels=formats.out_channels(config),
            heads=config.nheads,
            groups=config.ngroups,
            padded_state=padded,
            program=-(-instructions(config) // PROGRAM_STEP) * PROGRAM_STEP,
        )
    except ValueError as error:
        raise InputError(f"target {target.name}: {error}") from error


def fitting(gates: ArchConfig, needed: ArchConfig) -> ArchConfig:
    """The gates, if a model that needs ``needed`` runs on them too.

    Raises
    ------
    InputError
        If they are too small for it, or built otherwise.
    """
    for name, value in asdict(gates).items():
        wanted = getattr(needed, name)
        if name in CAPACITIES and value < wanted:
            raise InputError(f"the gates have {name} {value}, but the model needs {wanted}")
        if name not in CAPACITIES and value != wanted:
            raise InputError(
                f"the gates have {name} {value}, but model and target make it {wanted}; "
                f"compile for the target and formats that the gates were made for"
            )
    return gates


def instructions(config: Mamba2Config) -> int:
    """Length of the program: two per layer, a third for the last one, embedding, head, end."""
    return 2 * config.n_layer + 4


def _formats(c: Mamba2Config, f: Formats) -> Iterator[str]:
    """What the arithmetic of the gates does not cover."""
    for name, value, wanted in (
        ("block", f.block, BLOCK),
        ("head_block", f.head_block, BLOCK),
        ("group", f.group, GROUP),
        ("head_act_bits", f.head_act_bits, 8),
        ("state_bits", f.state_bits, 8),
    ):
        if value != wanted:
            yield f"the model has {name} {value}, but the gates {name} {wanted}; quantize with that"
    if f.head_weight_bits != f.weight_bits:
        yield (
            f"the model has head_weight_bits {f.head_weight_bits} and weight_bits "
            f"{f.weight_bits}, but in the gates all weights are of one width; "
            f"quantize with head_weight_bits {f.weight_bits}"
        )
    if (size := f.transform.size(c.group_dim)) > GROUP:
        yield (
            f"the model's Hadamard transform has order {size} (a whole norm group), but that of "
            f"the gates at most {GROUP}; quantize with hadamard {GROUP}"
        )
    if c.d_conv > TAPS:
        yield f"the model has d_conv {c.d_conv}, but the gates at most {TAPS} taps"


def _sizes(c: Mamba2Config) -> Iterator[str]:
    """What the fields of the commands cannot hold."""
    most = {(unit, f.name): f.max for unit, fields in COMMANDS.items() for f in fields}
    for name, value, top in (
        ("vocab_size", c.vocab_size, most["epilogue", "rows"]),
        ("d_model", c.d_model, 1 << 14),
        ("headdim", c.headdim, most["ssm", "headdim"]),
        ("nheads", c.nheads, most["ssm", "heads"]),
        ("ngroups", c.ngroups, most["bc", "groups"]),
        ("d_state", c.d_state, 256),
        ("conv_dim (x, B and C)", c.conv_dim, most["conv", "count"]),
        ("d_inner", c.d_inner, most["gate", "count"]),
        ("n_layer", c.n_layer, 510),
    ):
        if value > top:
            yield f"the model has {name} {value}, but the gates take at most {top}"


def _target(c: Mamba2Config, f: Formats, target: Target) -> Iterator[str]:
    """What another choice of the target would allow."""
    machine = target.machine
    how = f"set multiplier_bits = 8 in the [machine] table of a copy of target {target.name}"
    if f.act_bits > machine.multiplier_bits:
        yield (
            f"activations of {f.act_bits} bits do not fit multiplier_bits "
            f"{machine.multiplier_bits}; {how}"
        )
    if machine.multiplier_bits == 4 and (qmax := f.head.act.qmax) > 119:
        yield (
            f"the model has head_qmax {qmax}, but a 4-bit multiplier takes the head's activations "
            f"in two halves, up to 119; quantize with head_qmax 119, or {how}"
        )


def _reordered(c: Mamba2Config, target: Target) -> None:
    """While x of a head comes by turns with z of the one before, up to a head of x waits for z.

    Rows of z wait for nothing but x that came before them, so z_queue may be as short as it is.
    """
    needed, depth = c.headdim - BLOCKS_HELD, target.machine.x_queue
    if depth < needed:
        raise InputError(
            f"x_queue and the {BLOCKS_HELD} channels that wait for their exponents hold one head "
            f"of headdim {c.headdim}, but x_queue of target {target.name} is {depth}; set "
            f"x_queue = {needed} in the [machine] table of a copy of it"
        )


def _naive(c: Mamba2Config, target: Target) -> None:
    """In the naive order dt comes last, so that all of z and x wait."""
    for name in ("x_queue", "z_queue"):
        if (depth := getattr(target.machine, name)) < c.d_inner:
            raise InputError(
                f"in the naive order {name} holds all {c.d_inner} channels of d_inner, but that "
                f"of target {target.name} has {depth}; set {name} = {c.d_inner} in the [machine] "
                f"table of a copy of it, or compile with --order reordered"
            )
