"""Counters and ports are as wide as what they count and carry, in the whole accelerator.

Its structure is walked and nothing is simulated, so shapes that are too large for a simulation are
tested as well. Whatever is loaded with a field, a register or a port, counts it down or adds it up,
holds all its bits; numbers that are compared for equality have the same width; an address reaches
all of its memory. Host registers have 32 or 64 bits: :func:`ranges` gives their largest values.
Counters of attention are as wide as the configuration needs, and the fields of its command as wide
as any: :func:`capacities` gives the largest values of the fields.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from amaranth._unused import MustUse
from amaranth.hdl import Const, Fragment, Module, Signal
from amaranth.hdl._ast import Assign, Concat, Operator, Slice, Switch, SwitchValue

from lightmamba.arch.clients import SPREAD
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD
from lightmamba.arch.fields import width
from lightmamba.arch.passes import STEP
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.machine.ports import clients
from lightmamba.hardware.rtl import job, pairs
from lightmamba.hardware.rtl.attention.shape import Shape
from lightmamba.hardware.rtl.layouts import command
from lightmamba.hardware.rtl.memory.slot_walk import HEAD_BITS
from lightmamba.hardware.rtl.memory.spread_walk import POSITION_BITS
from lightmamba.hardware.rtl.top import Top
from lightmamba.numerics.attention import POSITIONS

from ..arch.test_latency import asked

# Registers of a datapath, whose widths have proofs of their own.
DATA = ("stage", "best_name")
# What may be narrower than its source, by part and name (without numbers), and why.
LESS = {
    ("", "position"): "dither counts modulo 256",
    ("ssm", "down"): "the same",
    ("ssm", "address"): "the group behind the last one is never read",
    ("blocks", "group_end"): "a group of channels that is not the last has 256 at most",
    ("bc", "addr"): "a word behind the last one is never stored",
    ("blocks", "w_data"): "an exponent that was clamped",
    ("gate", "silu_shift"): "a shift that was clamped",
    ("activations", "addr"): "slots count on past the end of their memory, a power of two",
    ("activations", "read__addr"): "the same",
    ("bursts", "next_most"): "the least of room, what is left of the page, and a burst",
    ("reader", "free"): "beats of a burst, less than the queue holds",
    ("reader", "owed"): "the same",
    ("writer", "stored"): "the same",
    ("write_state", "stored"): "the same",
    ("unpacker", "o__payload"): "the lowest word of a beat",
    ("counters", "far"): "the highest bits of an index, of which some are never set",
    **dict.fromkeys(
        (("store", "port__addr of query"), ("store", "port__addr of stage")),
        "a few entries, in block RAM since they are wide",
    ),
    ("sequencer", "addr"): "a word of the program, which is as long as its memory",
    **{(part, "axi__arlen"): "a burst has 256 beats at most, less one" for part in
       ("read_lane", "read_state", "read_kv", "reader")},
    **{(part, "axi__awlen"): "the same" for part in ("write_state", "writer")},
    ("watch_aux_read", "owed"): "a burst has no more beats than may be owed",
    ("read_kv", "free"): "rows of a burst, less than the queue holds",
    ("qkv", "w_data"): "an exponent that was clamped",
    ("hidden", "silu_shift"): "a shift that was clamped",
    ("loader", "part"): "a head has no more words than there is room for",
    **{(part, "addr"): "segments count on past the end of their memory, a power of two" for part in
       ("reads_kv", "writes_kv")},
    ("units", "command__payload"): "the unit's own fields; the others choose its inputs",
    **{(part, "final == vector"): "one less than as many vectors as a pass has" for part in
       ("attention", "tiles")},
}  # fmt: skip
CONFIGS = {
    "one token": ArchConfig(),
    "several positions": ArchConfig(
        kinds=("attention", "mlp"), context=POSITIONS, kv_heads=4, per_group=4, head_dim=64,
        lanes=8, port_bits=256, attention_channels=128, attention_rows=1,
    ),
    "widest words": ArchConfig(
        kinds=("attention",), context=POSITIONS, head_dim=256, attention_channels=256,
        attention_rows=1,
    ),
    "attention": ArchConfig(
        kinds=("attention",), context=POSITIONS, kv_heads=63, per_group=63, head_dim=256, tokens=8,
        attention_rows=1,
    ),
    "two tokens": ArchConfig(tokens=2, state_elements=128, groups=3),
    "largest": ArchConfig(
        tokens=8, lanes=12, state_elements=64, head_rows=255, padded_state=256, groups=15
    ),
}  # fmt: skip


def ranges(config: ArchConfig) -> dict[str, int]:
    """Bits that a register of the host needs for the largest value that it is given."""
    addresses = ("lane_base", "conv_params_base", "head_params_base", "gate_params_base",
                 "slot_read", "slot_write", "slot_conv_state", "record_read", "record_write",
                 "later_row", "embedding_base", "logits_base")  # fmt: skip
    found = {
        **dict.fromkeys(addresses, ADDRESS_BITS),
        "token": 20, "position": 8, "counter_index": 8, "program_index": 16,
        **dict.fromkeys(("layers", "conv_state_layers", "record_layers"), 16),
        "state_heads": HEAD_BITS, "step_index": (config.steps - 1).bit_length(),
        "last_step": (config.steps - 1).bit_length(), "step_data": width(STEP),
        "b_channels": (config.groups * config.padded_state).bit_length(),
        "d_state": config.padded_state.bit_length(),
    }  # fmt: skip
    for client in clients(config, SPREAD):
        words = 2 * config.head_dim // WORD
        largest = {
            "before": POSITIONS, "runs": config.kv_heads, "words": words, "layers": (1 << 16) - 1,
            "base": (1 << ADDRESS_BITS) - 1,
        }  # fmt: skip
        found |= {f"{client.name}_{what}": most.bit_length() for what, most in largest.items()}
        found[f"slot_{client.name}_more"] = config.tokens.bit_length()
        found[f"slot_{client.name}_positions"] = POSITIONS.bit_length()
    return found


def capacities(config: ArchConfig) -> dict[tuple[str, str], int]:
    """Largest value of fields of commands, by unit and field, where the configuration limits it."""
    if "attention" not in config.kinds:
        return {}
    shape = Shape.of(config)
    fields = ("heads", "per_group", "head_dim", "parts", "tiles")
    found = {("attention", name): getattr(shape, name) for name in fields}
    return found | {("qkv", "head_dim"): shape.head_dim}


def places(fragment: Fragment, place: str = "") -> Iterator[tuple[str, Assign]]:
    """Assignments of a part and of all below it, each with the names of the parts around it."""

    def flat(found: Any) -> Iterator[Assign]:
        for one in found:
            if isinstance(one, Assign):
                yield one
            elif isinstance(one, Switch):
                for case in one.cases:
                    yield from flat(case[1])

    for found in fragment.statements.values():
        yield from ((place, one) for one in flat(found))
    for below, own, *_ in fragment.subfragments:
        if hasattr(below, "statements"):
            yield from places(below, f"{place}.{own}")


def sources(value: Any) -> Iterator[Any]:
    """Signals and fields that a value may be, with others added, taken away or multiplied."""
    if isinstance(value, SwitchValue):
        for _, each in value.cases:
            yield from sources(each)
    elif isinstance(value, Operator) and value.operator in ("m", "u", "s", "+", "-", "*"):
        for operand in value.operands[value.operator == "m" :]:
            yield from sources(operand)
    elif isinstance(value, Signal) or (
        isinstance(value, Slice) and isinstance(value.value, Signal)
    ):
        yield value


def below(value: Any) -> Iterator[Any]:
    """A value and all in it."""
    yield value
    inner = {
        Operator: lambda: value.operands,
        Concat: lambda: value.parts,
        Slice: lambda: [value.value],
        SwitchValue: lambda: [value.test, *(each for _, each in value.cases)],
    }.get(type(value), list)()
    for one in inner:
        yield from below(one)


def plain(name: str) -> str:
    """A name without the numbers of equal parts."""
    name = re.sub(r"__\d+", "", name)
    return re.sub(r"\d+$", "", name).replace("$signature__", "")


def shown(value: Any) -> str:
    """A signal's name, or the fields of what is none."""
    return plain(value.name) if isinstance(value, Signal) else repr(value)


def last_of(place: str, one: Assign, config: ArchConfig) -> int | None:
    """Bits of the number of the last of some, if an assignment takes one off a command's field.

    None if it does not, or if the configuration does not limit the field.
    """
    rhs, (_, _, unit, *_) = one.rhs, (place + "...").split(".")
    if not (isinstance(rhs, Operator) and rhs.operator == "-" and isinstance(one.lhs, Signal)):
        return None
    count, less = rhs.operands
    if not (isinstance(less, Const) and less.value == 1 and isinstance(count, Slice)):
        return None
    most = [
        (most - 1).bit_length()
        for (of, name), most in capacities(config).items()
        if of == unit and command(of, config)[name].offset == count.start
    ]
    return most[0] if most else None


def unequal(value: Any, lasts: dict[int, int]) -> Iterator[str]:
    """Comparisons within a value whose sides do not have the same width.

    A number of the last of some (``lasts``, by signal) only needs as many bits as it may have.
    """
    for one in below(value):
        if not isinstance(one, Operator) or one.operator not in ("==", "!="):
            continue
        a, b = sorted(one.operands, key=lambda x: isinstance(x, Const))
        if isinstance(b, Const):
            if isinstance(a, Signal) and b.value >= 1 << len(a):
                yield f"{shown(a)} == {b.value}"
            continue
        for x in sources(a):
            for y in sources(b):
                bits = lasts.get(id(x), lasts.get(id(y)))
                if (len(x) != len(y)) if bits is None else min(len(x), len(y)) < bits:
                    yield f"{shown(x)} == {shown(y)}"


def are_named() -> bool:
    """Whether Amaranth finds the name of a signal.

    From Python 3.13 on one instruction stores both, which Amaranth 0.5 does not know.
    """
    first, second = Signal(), Signal()
    return "second" in (first.name, second.name)


pytestmark = pytest.mark.skipif(
    not are_named(), reason="Amaranth 0.5 does not find all names of signals in this Python"
)


def part_of(place: str) -> str:
    """Innermost part of a place; of what there is once per token, the unit."""
    names = [plain(name) for name in place.split(".")]
    return names[-2] if names[-1] == "token" else names[-1]


def narrow(config: ArchConfig) -> set[tuple[str, str]]:
    """Part and name of all that is narrower than its source, than what it is compared with, or
    than the addresses of its memory."""
    found, most = set(), ranges(config)
    every = list(places(Fragment.get(Top(config), None)))
    lasts = {
        id(one.lhs): bits
        for place, one in every if (bits := last_of(place, one, config)) is not None
    }  # fmt: skip
    for place, one in every:
        part = part_of(place)
        found |= {(part, why) for why in unequal(one.rhs, lasts)}
        if not isinstance(one.lhs, Signal) or one.lhs.name.startswith(DATA):
            continue
        name = plain(one.lhs.name)
        for source in sources(one.rhs):
            bits = lasts.get(id(one.lhs), len(source))
            if isinstance(source, Signal) and bits in (32, 64):
                bits = most.get(plain(source.name), bits)
            if bits > len(one.lhs):
                found.add((part, name))
            if name.endswith(("addr", "address")) and part and bits < len(one.lhs):
                found.add((part, f"{name} of {shown(source)}"))
    return found


@functools.cache
def narrow_in(name: str) -> set[tuple[str, str]]:
    """Of a configuration, found once for all tests."""
    return narrow(CONFIGS[name])


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Amaranth must not complain of parts that are not simulated."""
    monkeypatch.setattr(MustUse, "__new__", asked)


@pytest.mark.parametrize("name", CONFIGS)
def test_all_that_counts_or_carries_is_wide_enough(name):
    assert narrow_in(name) - LESS.keys() == set()


def test_a_walk_through_memory_has_room_for_all_positions():
    """The host's register is cut to these bits, which the structure does not show."""
    assert POSITIONS.bit_length() <= POSITION_BITS


def test_every_exception_is_needed():
    """An entry that is no longer an exception has to go."""
    assert LESS.keys() - set().union(*map(narrow_in, CONFIGS)) == set()


def test_a_counter_that_is_too_narrow_is_found(monkeypatch):
    """A bit less in every countdown."""

    class Narrow(job.Countdown):
        def __init__(self, bits: int, by: int = 1) -> None:
            super().__init__(bits - 1, by)

    class NarrowPairs(pairs.Pairs):
        def __init__(self, m: Module, bits: int, width: int = 2) -> None:
            super().__init__(m, bits - 1, width)

    of_kind = (f"mamba2.{name}" for name in ("gate", "conv", "ssm_heads", "ssm_record"))
    for module in ("residual", "head"):
        monkeypatch.setattr(f"lightmamba.hardware.rtl.{module}.Pairs", NarrowPairs)
    for module in ("quantizer", "blocks", "memory.slot_walk", *of_kind):
        monkeypatch.setattr(f"lightmamba.hardware.rtl.{module}.Countdown", Narrow)
    found = {part for part, name in narrow(CONFIGS["two tokens"]) if name == "_left"}
    assert found >= {"gate", "conv", "quant_in", "ssm", "blocks", "residual", "head", "reads",
                     "writes"}  # fmt: skip
