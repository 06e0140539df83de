"""Counters are as wide as what they count: every register that is loaded with a field or a port.

The structure of each unit is walked, nothing is simulated, so shapes too large for a simulation
count as well. A register must hold all bits of the value that it is loaded with, less one or not,
and numbers that are compared for equality must be of one width.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from amaranth._unused import MustUse
from amaranth.hdl import Const, Fragment, Signal
from amaranth.hdl._ast import Assign, Concat, Operator, Slice, Switch, SwitchValue

from lightmamba.arch.config import ArchConfig
from lightmamba.rtl import job
from lightmamba.rtl.prefetch import LayerWalk, Segments, Walk
from lightmamba.rtl.reader import WordReader
from lightmamba.rtl.sequencer import Sequencer
from lightmamba.rtl.slot_walk import SlotWalk
from lightmamba.rtl.state import StatePacker, StateUnpacker
from lightmamba.rtl.units import Units
from lightmamba.rtl.writer import WordWriter

from ..arch.test_latency import asked

# Registers of a datapath, whose widths have proofs of their own; and those that count less than
# their source can say: d_state is at most 256, places are within a memory, bursts have 256 beats at
# most, shifts are clamped.
DATA = ("stage", "newest", "o_dt__payload", "o_z__payload", "best_name")
LESS = {
    ("blocks", "group_end"), ("ssm", "address"), ("reader", "axi__arlen"), ("writer", "axi__awlen"),
    ("gate", "silu_shift"),
}  # fmt: skip
CONFIGS = {
    "one token": ArchConfig(),
    "four tokens": ArchConfig(tokens=4, state_elements=256, groups=3),
    "eight tokens": ArchConfig(tokens=8, state_elements=32, head_rows=128),
}


def parts(config: ArchConfig) -> dict[str, Any]:
    return {
        "units": Units(config), "sequencer": Sequencer(config), "slots": SlotWalk(config),
        "layers": LayerWalk(), "walk": Walk(), "segments": Segments(32),
        "unpacker": StateUnpacker(config), "packer": StatePacker(config),
        "reader": WordReader(128, 64, 16), "writer": WordWriter(128, 64, 16),
    }  # fmt: skip


def statements(fragment: Fragment, name: str) -> Iterator[tuple[str, str, Assign]]:
    """Assignments of a part and of all below it: its name, domain, assignment."""

    def flat(found: Any) -> Iterator[Assign]:
        for one in found:
            if isinstance(one, Assign):
                yield one
            elif isinstance(one, Switch):
                for case in one.cases:
                    yield from flat(case[1])

    for domain, found in fragment.statements.items():
        yield from ((name, domain, one) for one in flat(found))
    for below, own, *_ in fragment.subfragments:
        if hasattr(below, "statements"):
            yield from statements(below, name if name != "units" else str(own))


def loaded(value: Any) -> Iterator[Any]:
    """Signals and fields that a value may be, or one less than which it may be."""
    if isinstance(value, SwitchValue):
        for _, each in value.cases:
            yield from loaded(each)
    elif isinstance(value, Operator) and value.operator == "m":
        yield from (x for operand in value.operands[1:] for x in loaded(operand))
    elif isinstance(value, Operator) and value.operator in ("u", "s"):
        yield from loaded(value.operands[0])
    elif isinstance(value, Operator) and value.operator == "-":
        if isinstance(value.operands[1], Const):
            yield from loaded(value.operands[0])
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


def too_narrow(config: ArchConfig) -> set[tuple[str, str]]:
    """Part and register of everything that is narrower than what it is loaded or compared with."""
    found = set()
    for name, part in parts(config).items():
        for place, domain, one in statements(Fragment.get(part, None), name):
            if domain == "sync" and isinstance(one.lhs, Signal):
                register = one.lhs.name
                if register.startswith(DATA) or (place, register) in LESS:
                    continue
                if any(len(source) > len(one.lhs) for source in loaded(one.rhs)):
                    found.add((place, register))
            for value in below(one.rhs):
                if isinstance(value, Operator) and value.operator == "==":
                    a, b = value.operands
                    if isinstance(a, Signal) and isinstance(b, Signal) and len(a) != len(b):
                        found.add((place, f"{a.name} == {b.name}"))
    return found


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Amaranth must not complain of parts that are not simulated."""
    monkeypatch.setattr(MustUse, "__new__", asked)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "eight tokens")) for n in CONFIGS]
)
def test_every_counter_holds_what_it_is_loaded_with(name):
    assert too_narrow(CONFIGS[name]) == set()


def test_a_counter_that_is_too_narrow_is_found(monkeypatch):
    """A bit less in every countdown."""

    class Narrow(job.Countdown):
        def __init__(self, bits: int) -> None:
            super().__init__(bits - 1)

    for module in ("gate", "conv", "quantizer", "ssm_heads", "slot_walk", "blocks", "ssm_record",
                   "residual"):  # fmt: skip
        monkeypatch.setattr(f"lightmamba.rtl.{module}.Countdown", Narrow)
    found = {place for place, register in too_narrow(CONFIGS["four tokens"]) if register == "_left"}
    assert found >= {"gate", "conv", "quant_in", "ssm", "slots", "blocks", "residual"}
