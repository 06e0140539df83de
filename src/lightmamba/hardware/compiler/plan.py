"""Whether a target can run a model, and with which build parameters."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP
from lightmamba.arch.graph import Graph
from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.blocks import kinds as known
from lightmamba.blocks.layer import Sizes, out_channels
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.manifest import ORDERS
from lightmamba.hardware.machine.ports import ports
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.attention import POSITIONS
from lightmamba.numerics.model_formats import Formats

__all__ = ["CAPACITIES", "ORDERS", "fitting", "for_kinds", "instructions", "plan"]

PROGRAM_STEP = 32  # so that models of a few layers more run on the same hardware
STATES = (512, 256, 128, 64, 32, 16, 8, 4)
CAPACITIES = (
    "added_channels",
    "in_channels", "out_channels", "heads", "groups", "padded_state", "head_rows", "program",
    "context", "kv_heads", "per_group", "head_dim", "wide_weight_bits", "wide_act_bits",
)  # fmt: skip
# What a model without a state that lies head by head does not say.
STATE = ("heads", "groups", "padded_state", "head_rows", "state_elements", "state_fifo")
# Widths that only exceptions need.
EXCEPTED = {"wide_weight_bits": "weights", "wide_act_bits": "activations"}
# A model without attention says nothing of these.
ARRAY = ("attention_channels", "attention_rows")
# Tokens, if nothing else is said; at least, for the self-test; at most.
CONTEXT, LEAST_CONTEXT, MOST_CONTEXT = 1 << 10, 32, POSITIONS


def plan(
    config: ModelConfig,
    formats: Formats,
    target: Target,
    order: str = ORDERS[0],
    *,
    kinds: Collection[str] = (),
    context: int | None = None,
    hardware: ArchConfig | None = None,
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
        Tokens of a sequence that memory has room for, where something grows with it; by default
        1,024.
    hardware
        Hardware that the model is to run on, instead of these two: what no layer of the model
        needs is as there. Whether the rest fits is for :func:`fitting` to say.

    Raises
    ------
    InputError
        If the hardware cannot run it, with the reason and the nearest that they can.
    """
    if order not in ORDERS:
        raise InputError(f"order must be {' or '.join(ORDERS)}, not {order!r}")
    chosen = _kinds(config, kinds) if hardware is None else _covering(hardware, config, target)
    graph, target = machine(chosen), for_kinds(target, chosen)
    if hardware is not None:
        context = hardware.context or None
    different = list(dict.fromkeys(config.layers))
    for reason in (
        *_formats(formats), *_exceptions(config, formats),
        *_sizes(config, graph), *_target(formats, target),
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
        **_widest(config, formats, hardware),
        "in_channels": formats.in_channels(config.d_model),
        # Of blocks that are added there are two, of which the second comes while one is read.
        "out_channels": max(
            out_channels(layer, formats) * (1 + layer.routed) for layer in different
        ),
        "program": -(-instructions(config) // PROGRAM_STEP) * PROGRAM_STEP,
        "context": _context(context, graph),
    }
    own = target.machine
    if hardware is not None and "padded_state" not in needed:
        own = replace(own, **{name: getattr(hardware, name) for name in STATE})
    if hardware is not None:
        own = replace(own, **{name: getattr(hardware, name) for name in ARRAY})
    try:
        arrays = _array(own, needed) if hardware is None else {}
        made = replace(own, **found | _word(own, needed) | arrays)
        ports(made)  # has as many as there are ids for
        rows = needed.get("head_rows", 0) if made.whole_heads else 0
        return replace(made, head_rows=rows) if rows else made
    except ValueError as error:
        raise InputError(f"target {target.name}: {error}") from error


def for_kinds(target: Target, kinds: Collection[str]) -> Target:
    """The target with its choices for a machine that has layers of these kinds.

    Raises
    ------
    InputError
        If it chooses for a kind that there is not, or its choices do not go together.
    """
    if unknown := sorted(set(target.per_kind) - set(known())):
        raise InputError(
            f"target {target.name} has a table [machine.{unknown[0]}], but layers are of kind "
            f"{', '.join(known())}; name it, for example, [machine.attention]"
        )
    try:
        return target.for_kinds(kinds)
    except ValueError as error:
        raise InputError(f"target {target.name}: {error}") from error


def _covering(hardware: ArchConfig, config: ModelConfig, target: Target) -> tuple[str, ...]:
    """Kinds of some hardware, which are those of the model and others."""
    if missing := sorted(set(config.kinds) - set(hardware.kinds)):
        wanted = ",".join(sorted({*hardware.kinds, *config.kinds}))
        raise InputError(
            f"the hardware has no units for {' and '.join(missing)} layers; make some that has: "
            f"lightmamba compile MODEL --target {target.name} --kinds {wanted} -o BUILD"
        )
    return hardware.kinds


def _kinds(config: ModelConfig, wanted: Collection[str]) -> tuple[str, ...]:
    """Kinds of the hardware, in alphabetical order."""
    if unknown := sorted(set(wanted) - set(known())):
        raise InputError(
            f"there are no layers of kind {' or '.join(map(repr, unknown))}; --kinds takes some of "
            f"{', '.join(known())}"
        )
    if missing := sorted(set(config.kinds) - set(wanted or config.kinds)):
        raise InputError(
            f"the model has {' and '.join(missing)} layers, but the hardware would have units for "
            f"{' and '.join(sorted(wanted))} only; try --kinds {','.join(sorted(config.kinds))}"
        )
    if unused := [name for name in set(wanted) - set(config.kinds) if kind(name).Sizes.routed]:
        raise InputError(
            f"hardware for {unused[0]} layers is made for the blocks of a model that has them, and "
            f"this one has none; compile such a model, then this one with --rtl and its build"
        )
    return tuple(sorted({*(wanted or config.kinds)}))


def _context(wanted: int | None, graph: Graph) -> int:
    """Tokens of a sequence that memory has room for; 0 where nothing grows with them."""
    if not any(client.shape.grows for client in graph.clients):
        if wanted is not None:
            raise InputError(
                "no layer of this hardware keeps anything of every token, so sequences may be of "
                "any length; leave --context out"
            )
        return 0
    if wanted is not None and not LEAST_CONTEXT <= wanted <= MOST_CONTEXT:
        nearest = LEAST_CONTEXT if wanted < LEAST_CONTEXT else MOST_CONTEXT
        raise InputError(
            f"--context must be from {LEAST_CONTEXT} to {MOST_CONTEXT:,}, not {wanted:,}; "
            f"try {nearest}"
        )
    return CONTEXT if wanted is None else wanted


def _widest(config: ModelConfig, formats: Formats, hardware: ArchConfig | None) -> dict[str, int]:
    """Most bits of weights and of activations of a projection, of the model or the hardware."""
    found = [
        layer.projection(formats, i, matrix.name)
        for i, layer in enumerate(config.layers)
        for matrix in layer.matrices(config.d_model, formats)
    ]
    most = {
        "wide_weight_bits": max(op.bits for op in found),
        "wide_act_bits": max(op.act.bits for op in found),
    }
    return {name: max(bits, getattr(hardware, name, bits)) for name, bits in most.items()}


def _exceptions(config: ModelConfig, formats: Formats) -> Iterator[str]:
    """Reasons why projections with widths of their own cannot be run."""
    formats.check_layers(config.n_layer)
    router, head = formats.router.act, formats.head.act
    if any(layer.routed for layer in config.layers) and router != head:
        yield (
            f"activations of the routers go up to {router.qmax}, but the head's go up to "
            f"{head.qmax}, and the hardware has one such format; quantize with head_qmax "
            f"{router.qmax}"
        )
    for each in formats.exceptions:
        op = formats.of(each.layer, each.projection)
        for name, value, least in (
            ("weights", op.bits, formats.weight_bits),
            ("activations", op.act.bits, formats.act_bits),
        ):  # fmt: skip
            if value < least:
                yield (
                    f"{each.projection} of layer {each.layer} has {name} of {value} bits, but the "
                    f"others {least}; the hardware takes exceptions that are wider, so quantize "
                    f"with {least}"
                )
        if op.act.bits > formats.act_bits and op.act != formats.head.act:
            yield (
                f"{each.projection} of layer {each.layer} has activations of {op.act.bits} bits up "
                f"to {op.act.qmax}, but the head's go up to {formats.head.act.qmax}, and the "
                f"hardware has one such format; quantize with head_qmax {op.act.qmax}"
            )


def _of_layer(layer: Sizes, formats: Formats, target: Target, order: str) -> Iterator[str]:
    """Reasons why a layer's kind cannot be run with these sizes, formats and queues."""
    own = kind(layer.kind).hardware
    yield from own.refusals(layer, formats)
    yield from own.queues(layer, target, order)


def _capacities(layers: Sequence[Sizes]) -> dict[str, int]:
    """Capacities that kinds of layers need: the most that any layer does."""
    found: dict[str, int] = {}
    for layer in layers:
        for name, value in kind(layer.kind).hardware.capacities(layer).items():
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


def _array(machine: ArchConfig, needed: Mapping[str, int]) -> dict[str, int]:
    """Queries of attention that meet in a cycle: no more than a group has."""
    if "per_group" not in needed:
        return {}
    return {"attention_rows": min(machine.attention_rows, needed["per_group"])}


def fitting(hardware: ArchConfig, needed: ArchConfig) -> ArchConfig:
    """Return the hardware if a model that needs ``needed`` runs on it.

    Raises
    ------
    InputError
        If the hardware is too small for the model, or built differently.
    """
    for name, value in asdict(hardware).items():
        wanted = value if name == "kinds" else getattr(needed, name)
        if name in EXCEPTED and value < wanted:
            raise InputError(
                f"a layer of the model has {EXCEPTED[name]} of {wanted} bits, but this hardware "
                f"takes {value} in all layers; compile hardware for a model with such an exception"
            )
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
    """Length of the program: those of each layer, one more of the last, embedding, head, end."""
    return sum(kind(layer.kind).hardware.length(layer) for layer in config.layers) + 4


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
                f"the model has {name} {value}, but the hardware has {name} {wanted}; quantize by "
                f"a recipe that has it, such as w4a4"
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
