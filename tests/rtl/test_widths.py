"""Counters and ports are as wide as what they count and carry, in the whole accelerator.

Its structure is walked and nothing is simulated, so shapes that are too large for a simulation are
tested as well. Whatever is loaded with a field, a register or a port, counts it down or adds it up,
holds all its bits; numbers that are compared for equality have the same width; an address reaches
all of its memory. Host registers have 32 or 64 bits: :func:`ranges` gives their largest values.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from amaranth._unused import MustUse
from amaranth.hdl import Const, Fragment, Signal
from amaranth.hdl._ast import Assign, Concat, Operator, Slice, Switch, SwitchValue

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import width
from lightmamba.arch.passes import STEP
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.rtl import job
from lightmamba.rtl.slot_walk import HEAD_BITS
from lightmamba.rtl.top import Top

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
    ("sequencer", "addr"): "a word of the program, which is as long as its memory",
    **{(part, "axi__arlen"): "a burst has 256 beats at most, less one" for part in
       ("read_lane", "read_state", "reader")},
    **{(part, "axi__awlen"): "the same" for part in ("write_state", "writer")},
}  # fmt: skip
CONFIGS = {
    "one token": ArchConfig(),
    "four tokens": ArchConfig(tokens=4, state_elements=256, groups=3),
    "largest": ArchConfig(
        tokens=8, lanes=12, state_elements=64, head_rows=255, padded_state=256, groups=15
    ),
}


def ranges(config: ArchConfig) -> dict[str, int]:
    """Bits that a register of the host needs for the largest value that it is given."""
    addresses = ("lane_base", "conv_params_base", "head_params_base", "gate_params_base",
                 "slot_read", "slot_write", "slot_conv_state", "record_read", "record_write",
                 "later_row", "embedding_base", "logits_base")  # fmt: skip
    return {
        **dict.fromkeys(addresses, ADDRESS_BITS),
        "token": 20, "position": 8, "counter_index": 8, "program_index": 16,
        **dict.fromkeys(("layers", "conv_state_layers", "record_layers"), 16),
        "state_heads": HEAD_BITS, "step_index": (config.steps - 1).bit_length(),
        "last_step": (config.steps - 1).bit_length(), "step_data": width(STEP),
        "b_channels": (config.groups * config.padded_state).bit_length(),
        "d_state": config.padded_state.bit_length(),
    }  # fmt: skip


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
    return re.sub(r"\d+$", "", re.sub(r"__\d+$", "", name)).replace("$signature__", "")


def unequal(value: Any) -> Iterator[str]:
    """Comparisons within a value whose sides do not have the same width."""
    for one in below(value):
        if not isinstance(one, Operator) or one.operator not in ("==", "!="):
            continue
        a, b = sorted(one.operands, key=lambda x: isinstance(x, Const))
        if isinstance(b, Const):
            if isinstance(a, Signal) and b.value >= 1 << len(a):
                yield f"{a.name} == {b.value}"
            continue
        for x in sources(a):
            yield from (f"{x} == {y}" for y in sources(b) if len(x) != len(y))


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
    for place, one in places(Fragment.get(Top(config), None)):
        part = part_of(place)
        found |= {(part, why) for why in unequal(one.rhs)}
        if not isinstance(one.lhs, Signal) or one.lhs.name.startswith(DATA):
            continue
        name = plain(one.lhs.name)
        for source in sources(one.rhs):
            bits = len(source)
            if isinstance(source, Signal) and bits in (32, 64):
                bits = most.get(plain(source.name), bits)
            if bits > len(one.lhs):
                found.add((part, name))
            if name.endswith(("addr", "address")) and part and bits < len(one.lhs):
                found.add((part, f"{name} of {source}"))
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


def test_every_exception_is_needed():
    """An entry that is no longer an exception has to go."""
    assert LESS.keys() - set().union(*map(narrow_in, CONFIGS)) == set()


def test_a_counter_that_is_too_narrow_is_found(monkeypatch):
    """A bit less in every countdown."""

    class Narrow(job.Countdown):
        def __init__(self, bits: int) -> None:
            super().__init__(bits - 1)

    for module in ("gate", "conv", "quantizer", "ssm_heads", "slot_walk", "blocks", "ssm_record",
                   "residual"):  # fmt: skip
        monkeypatch.setattr(f"lightmamba.rtl.{module}.Countdown", Narrow)
    found = {part for part, name in narrow(CONFIGS["four tokens"]) if name == "_left"}
    assert found >= {"gate", "conv", "quant_in", "ssm", "blocks", "residual", "reads", "writes"}
