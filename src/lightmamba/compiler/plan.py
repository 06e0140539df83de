"""Whether a target can run a model, and with which build parameters."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP
from lightmamba.arch.graph import Graph
from lightmamba.arch.target import Target
from lightmamba.blocks import part
from lightmamba.blocks.protocols import out_channels
from lightmamba.blocks.sizes import Sizes
from lightmamba.config import ModelConfig
from lightmamba.errors import InputError
from lightmamba.formats import Formats
from lightmamba.machine.kinds import machine
from lightmamba.machine.manifest import ORDERS

__all__ = ["CAPACITIES", "ORDERS", "fitting", "instructions", "plan"]

PROGRAM_STEP = 32  # so that models of a few layers more run on the same hardware
STATES = (512, 256, 128, 64, 32)
CAPACITIES = (
    "in_channels", "out_channels", "heads", "groups", "padded_state", "head_rows", "program",
    "context",
)  # fmt: skip
CONTEXT = 1 << 10  # positions, if nothing else is said


def plan(
    config: ModelConfig,
    formats: Formats,
    target: Target,
    order: str = ORDERS[0],
    *,
    kinds: Collection[str] = (),
    context: int = CONTEXT,
) -> ArchConfig:
    """Build parameters of the machine of a target for one model.

    Parameters
    ----------
    config, formats, target
        What runs where.
    order
        Row order of in_proj.
    kinds
        Of layers that the hardware has units for; by default those of the model.
    context
        Positions of a sequence that memory has room for, where something grows with it.

    Raises
    ------
    InputError
        If the hardware cannot run it, with the reason and the nearest that they can.
    """
    if order not in ORDERS:
        raise InputError(f"order must be {' or '.join(ORDERS)}, not {order!r}")
    chosen = _kinds(config, kinds)
    graph = machine(chosen)
    different = list(dict.fromkeys(config.layers))
    for reason in (
        *_formats(formats), *_sizes(config, graph), *_target(formats, target),
        *(reason for layer in different for reason in _of_layer(layer, formats, target, order)),
    ):  # fmt: skip
        raise InputError(reason)
    needed = _capacities(different)
    found: dict[str, Any] = {
        **{name: value for name, value in needed.items() if name != "head_rows"},
        "kinds": chosen,
        "weight_bits": formats.weight_bits,
        "act_bits": formats.act_bits,
        "head_act_bits": formats.head_act_bits,
        "head_qmax": formats.head.act.qmax,
        "in_channels": formats.in_channels(config.d_model),
        "out_channels": max(out_channels(layer, formats) for layer in different),
        "program": -(-instructions(config) // PROGRAM_STEP) * PROGRAM_STEP,
        "context": context if any(c.shape == "growing" for c in graph.clients) else 0,
    }
    try:
        made = replace(target.machine, **found | _word(target.machine, needed))
        return replace(made, head_rows=needed["head_rows"]) if made.whole_heads else made
    except ValueError as error:
        raise InputError(f"target {target.name}: {error}") from error


def _kinds(config: ModelConfig, wanted: Collection[str]) -> tuple[str, ...]:
    """Kinds of the hardware, in alphabetical order."""
    if missing := sorted(set(config.kinds) - set(wanted or config.kinds)):
        raise InputError(
            f"the model has {' and '.join(missing)} layers, but the hardware would have units for "
            f"{' and '.join(sorted(wanted))} only; try --kinds {','.join(sorted(config.kinds))}"
        )
    return tuple(sorted(wanted or config.kinds))


def _of_layer(layer: Sizes, formats: Formats, target: Target, order: str) -> Iterator[str]:
    """Reasons why a layer's kind cannot be run with these sizes, formats and queues."""
    own = part(layer.kind, "commands")
    yield from own.refusals(layer, formats)
    yield from own.queues(layer, target, order)


def _capacities(layers: Sequence[Sizes]) -> dict[str, int]:
    """Capacities that kinds of layers need: the most that any layer does."""
    found: dict[str, int] = {}
    for layer in layers:
        for name, value in part(layer.kind, "commands").capacities(layer).items():
            found[name] = max(value, found.get(name, 0))
    return found


def _word(machine: ArchConfig, needed: Mapping[str, int]) -> dict[str, int]:
    """The widest word of the state that a machine may have for a model, S, and its queue.

    It divides a row, or holds whole rows whose number divides a head.
    """
    if "padded_state" not in needed:
        return {}
    row, head = needed["padded_state"], needed["head_rows"]

    def fits(word: int) -> bool:
        if row % word == 0:
            return True
        return word % row == 0 and head % (word // row) == 0

    wide = next(s for s in STATES if s <= machine.state_elements and fits(s))
    deep = machine.state_fifo * (machine.state_elements // wide)
    return {"state_elements": wide, "state_fifo": min(1 << 16, deep)}


def fitting(hardware: ArchConfig, needed: ArchConfig) -> ArchConfig:
    """The hardware, if a model that needs ``needed`` runs on them too.

    Raises
    ------
    InputError
        If they are too small for it, or built otherwise.
    """
    if missing := sorted(set(needed.kinds) - set(hardware.kinds)):
        raise InputError(
            f"the hardware has no units for {' and '.join(missing)} layers; make it for them with "
            f"--kinds {','.join(sorted({*hardware.kinds, *needed.kinds}))}"
        )
    for name, value in asdict(hardware).items():
        wanted = value if name == "kinds" else getattr(needed, name)
        if name in CAPACITIES and value < wanted:
            raise InputError(
                f"the hardware has {name} {value}, but the model needs {wanted}, {wanted - value} "
                f"more; compile hardware for the larger model"
            )
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


def _sizes(c: ModelConfig, graph: Graph) -> Iterator[str]:
    """Reasons why the fields of the commands cannot hold a model."""
    most = {(unit, f.name): f.max for unit, fields in graph.commands.items() for f in fields}
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
