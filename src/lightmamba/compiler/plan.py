"""Whether a target can run a model, and with which build parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP
from lightmamba.arch.program import COMMANDS
from lightmamba.arch.target import Target
from lightmamba.blocks import part
from lightmamba.blocks.protocols import out_channels
from lightmamba.compiler.supported import the_layer
from lightmamba.config import ModelConfig
from lightmamba.errors import InputError
from lightmamba.formats import Formats
from lightmamba.machine.manifest import ORDERS

__all__ = ["CAPACITIES", "ORDERS", "fitting", "instructions", "plan"]

PROGRAM_STEP = 32  # so that models of a few layers more run on the same hardware
STATES = (512, 256, 128, 64, 32)
CAPACITIES = (
    "in_channels", "out_channels", "heads", "groups", "padded_state", "head_rows", "program",
)  # fmt: skip


def plan(
    config: ModelConfig, formats: Formats, target: Target, order: str = ORDERS[0]
) -> ArchConfig:
    """Build parameters of the machine of a target for one model.

    Raises
    ------
    InputError
        If the hardware cannot run it, with the reason and the nearest that they can.
    """
    if order not in ORDERS:
        raise InputError(f"order must be {' or '.join(ORDERS)}, not {order!r}")
    layer = the_layer(config)
    own = part(layer.kind, "commands")
    for reason in (
        *_formats(formats), *_sizes(config), *own.refusals(layer, formats),
        *_target(formats, target), *own.queues(layer, target, order),
    ):  # fmt: skip
        raise InputError(reason)
    machine, needed = target.machine, own.capacities(layer)
    wide, rows = _widest(machine, needed), needed.pop("head_rows")
    try:
        found = replace(
            machine,
            state_elements=wide,
            state_fifo=min(1 << 16, machine.state_fifo * (machine.state_elements // wide)),
            weight_bits=formats.weight_bits,
            act_bits=formats.act_bits,
            head_act_bits=formats.head_act_bits,
            head_qmax=formats.head.act.qmax,
            in_channels=formats.in_channels(config.d_model),
            out_channels=out_channels(layer, formats),
            **needed,
            program=-(-instructions(config) // PROGRAM_STEP) * PROGRAM_STEP,
        )
        return replace(found, head_rows=rows) if found.whole_heads else found
    except ValueError as error:
        raise InputError(f"target {target.name}: {error}") from error


def _widest(machine: ArchConfig, needed: Mapping[str, int]) -> int:
    """Widest word of the state that a machine may have for a model: S.

    It divides a row, or holds whole rows whose number divides a head.
    """
    row, head = needed["padded_state"], needed["head_rows"]

    def fits(word: int) -> bool:
        if row % word == 0:
            return True
        return word % row == 0 and head % (word // row) == 0

    return next(s for s in STATES if s <= machine.state_elements and fits(s))


def fitting(hardware: ArchConfig, needed: ArchConfig) -> ArchConfig:
    """The hardware, if a model that needs ``needed`` runs on them too.

    Raises
    ------
    InputError
        If they are too small for it, or built otherwise.
    """
    for name, value in asdict(hardware).items():
        wanted = getattr(needed, name)
        if name in CAPACITIES and value < wanted:
            raise InputError(f"the hardware has {name} {value}, but the model needs {wanted}")
        if name not in CAPACITIES and value != wanted:
            raise InputError(
                f"the hardware has {name} {value}, but model and target make it {wanted}; "
                f"compile for the target and formats that the hardware was made for"
            )
    if (rows := hardware.word_rows) != (wanted := needed.word_rows):
        raise InputError(
            f"the hardware takes {rows} rows of the state at once, but the model needs {wanted}, "
            f"since its padded d_state is {needed.padded_state}, not {hardware.padded_state}"
        )
    return hardware


def instructions(config: ModelConfig) -> int:
    """Length of the program: two per layer, a third for the last one, embedding, head, end."""
    return 2 * config.n_layer + 4


def _formats(f: Formats) -> Iterator[str]:
    """Reasons why the arithmetic of the hardware cannot run a model."""
    for name, value, wanted in (
        ("block", f.block, BLOCK),
        ("head_block", f.head_block, BLOCK),
        ("group", f.group, GROUP),
        ("head_act_bits", f.head_act_bits, 8),
        ("state_bits", f.state_bits, 8),
    ):
        if value != wanted:
            yield (
                f"the model has {name} {value}, but the hardware has {name} {wanted}; quantize "
                f"with that"
            )
    if f.head_weight_bits != f.weight_bits:
        yield (
            f"the model has head_weight_bits {f.head_weight_bits} and weight_bits "
            f"{f.weight_bits}, but in the hardware all weights are of one width; "
            f"quantize with head_weight_bits {f.weight_bits}"
        )


def _sizes(c: ModelConfig) -> Iterator[str]:
    """Reasons why the fields of the commands cannot hold a model."""
    most = {(unit, f.name): f.max for unit, fields in COMMANDS.items() for f in fields}
    for name, value, top in (
        ("vocab_size", c.vocab_size, most["epilogue", "rows"]),
        ("d_model", c.d_model, 1 << 14),
        ("n_layer", c.n_layer, 510),
    ):
        if value > top:
            yield f"the model has {name} {value}, but the hardware takes at most {top}"


def _target(f: Formats, target: Target) -> Iterator[str]:
    """Reasons that another choice of the target would remove."""
    machine = target.machine
    wider = "multiplier_bits = 8" + ", packed = false" * machine.packed
    how = f"set {wider} in the [machine] table of a copy of target {target.name}"
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
