"""Properties of a unit, proved for any inputs: the unit as an AIG, and abc's PDR.

PDR (Bradley's IC3; Eén, Mishchenko, Brayton, FMCAD 2011) finds an inductive invariant, so a
property that it proves holds in every cycle after a reset, not up to some depth.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value

__all__ = ["Patches", "Proof", "proved", "small"]

TO_AIG = """
read_rtlil top.il; hierarchy -top top; proc; flatten; opt_clean; memory_map; opt -full
opt_clean -purge; techmap; opt -fast; dffunmap; simplemap; setundef -undriven -zero
dfflegalize -cell $_DFF_P_ 01 -mince 0 -minsrst 0; setundef -zero; aigmap; opt_clean
write_aiger -zinit top.aig
"""
Patches = Mapping[Any, Mapping[str, Any]]  # constants of modules
SECONDS = 600


@contextmanager
def changed(patches: Patches) -> Iterator[None]:
    """Constants of modules, changed for a time."""
    with ExitStack() as stack:
        for module, constants in patches.items():
            stack.enter_context(mock.patch.multiple(module, **constants))
        yield


def small(patches: Patches, make: Callable[..., "Proof"], *arguments: int) -> "Proof":
    """Make a proof with constants of modules changed, so that counters and queues are short."""
    with changed(patches):
        proof = make(*arguments)
    proof.patches = patches
    return proof


def proved(proofs: Mapping[str, "Proof"], *, in_ci: bool = True) -> Callable[[str, str], None]:
    """Make the test that proves the properties of some units, one by one."""
    named = [(unit, name) for unit, p in proofs.items() for name in (*p.properties, *p.covers)]

    @pytest.mark.skipif(
        shutil.which("yosys-abc") is None, reason="yosys is missing: apt-get install yosys"
    )
    @pytest.mark.slow
    @pytest.mark.parametrize(("unit", "name"), named)
    def test_is_proved(unit: str, name: str) -> None:
        proofs[unit].check(name)

    return pytest.mark.board(test_is_proved) if in_ci else test_is_proved


@dataclass
class Proof:
    """A unit with free inputs, what is assumed of them, and properties that hold in every cycle.

    Parameters
    ----------
    dut
        The unit; what is not driven is 0.
    m
        What drives it, and what is counted for the properties.
    properties, covers
        Conditions by name: those that always hold, and those that are reached.
    depths
        Cycles of the properties that are looked at up to a depth only.
    patches
        Constants of modules that are changed while the unit is made.
    """

    dut: Elaboratable
    m: Module = field(default_factory=Module)
    properties: dict[str, Value] = field(default_factory=dict)
    covers: dict[str, Value] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)
    patches: Patches = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.m.submodules.dut = self.dut
        self._free: list[Signal] = []
        self._assumed: list[Value] = []

    def any(self, shape: Any = 1) -> Any:
        """Make an input that has any value in any cycle."""
        self._free.append(made := Signal(shape, name=f"free{len(self._free)}"))
        return made

    def drive(self, *inputs: Value) -> None:
        """Let inputs of the unit have any value in any cycle."""
        for one in inputs:
            value = Value.cast(one)
            self.m.d.comb += value.eq(self.any(len(value)))

    def assume(self, condition: Value) -> None:
        """Look only at runs in which a condition holds, up to the cycle that is looked at."""
        self._assumed.append(_bit(condition))

    def always(self, name: str, condition: Value, *, depth: int = 0) -> None:
        """Add a property; with a depth, one that is only looked at up to it."""
        if depth:
            self.depths[name] = depth
        self.properties[name] = _bit(condition)

    def reaches(self, name: str, condition: Value) -> None:
        """Add a state that can be reached, so that no property holds for want of it."""
        self.covers[name] = _bit(condition)

    def last(self, value: Value) -> Signal:
        """A value of the last cycle; 0 in the first one."""
        value = Value.cast(value)
        kept = Signal(len(value), name="last")
        self.m.d.sync += kept.eq(value)
        return kept

    # What many units have in common.

    def held(self, valid: Value, ready: Value, *payload: Value) -> Value:
        """Whether an offer that was not taken in the last cycle is still there, and the same."""
        offered = Cat(*map(Value.cast, payload))
        same = offered == self.last(offered)
        return ~self.last(valid & ~ready) | (valid & same if payload else valid)

    def give(self, name: str, stream: Any) -> Value:
        """Drive an input stream as its rules demand; whether a beat goes over."""
        self.drive(stream.valid, stream.payload)
        self.assume(self.held(stream.valid, stream.ready, stream.payload))
        self.reaches(f"{name} stalls", stream.valid & ~stream.ready)
        return stream.valid & stream.ready

    def take(self, name: str, stream: Any, *, depth: int = 0) -> Value:
        """Take an output stream at any time; that it keeps its rules is a property."""
        self.drive(stream.ready)
        held = self.held(stream.valid, stream.ready, stream.payload)
        self.always(f"{name} is held until it is taken", held, depth=depth)
        self.reaches(f"{name} stalls", stream.valid & ~stream.ready)
        return stream.valid & stream.ready

    def in_order(
        self, given: Value, value: Value, taken: Value, found: Value, most: int, name: str = "",
        *, room: bool = True, depth: int = 0,
    ) -> Signal:  # fmt: skip
        """Properties of a queue of ``most`` entries: all is taken, once, in order; its level.

        Any one entry is followed by counting those ahead of it. Without ``room`` whoever gives
        sees to it that there is some; ``depth`` is that of the order.
        """
        m, prefix = self.m, name and f"{name}: "
        level, ahead = Signal(range(most + 2)), Signal(range(most + 2))
        follows, gone = Signal(), Signal()
        kept = Signal(len(Value.cast(value)))
        m.d.sync += level.eq(level + given - taken)
        begin = given & ~follows & self.any()
        mine = follows & ~gone & taken & (ahead == 0)
        with m.If(begin):
            m.d.sync += [follows.eq(1), ahead.eq(level - taken), kept.eq(value)]
        with m.Elif(follows & ~gone & taken):
            m.d.sync += [ahead.eq(ahead - 1), gone.eq(ahead == 0)]
        # An entry that is given and taken in one cycle has none ahead of it.
        at_once = given & taken & (level == 0)
        same = (~mine | (found == kept)) & (~at_once | (found == value))
        self.always(f"{prefix}nothing is lost, doubled or reordered", same, depth=depth)
        self.always(f"{prefix}nothing is taken that was not given", ~taken | given | level.any())
        if room:
            self.always(f"{prefix}what waits fits", level <= most)
        self.reaches(f"{prefix}it is full", level == most)
        return level

    # Results.

    @cached_property
    def module(self) -> tuple[str, list[str]]:
        """RTLIL of all, and the names of its outputs: each is 1 when its property is broken."""
        m, names = self.m, [*self.properties, *self.covers]
        broken, holds = Signal(), Signal(init=1)
        for condition in self._assumed:
            previous, holds = holds, Signal()
            m.d.comb += holds.eq(previous & condition)
        first = Signal(init=1)
        m.d.sync += [first.eq(0), broken.eq(broken | ~holds)]
        outputs = []
        for n, value in enumerate((*(~p for p in self.properties.values()), *self.covers.values())):
            outputs.append(o := Signal(name=f"bad{n}"))
            m.d.comb += o.eq(value[0] & holds & ~broken & ~first)
        ports = [*self._free, *outputs]
        with changed(self.patches):
            return rtlil.convert(m, name="top", ports=ports, emit_src=False), names

    def check(self, name: str, *, seconds: int = SECONDS) -> None:
        """Prove a property, or look at it up to its depth, or reach a state.

        Raises
        ------
        AssertionError
            If it does not hold, or is not decided in this time; with the cycle.
        """
        text, names = self.module
        number = names.index(name)
        others = " ".join(f"o:bad{n}" for n in range(len(names)) if n != number)
        reach = name in self.covers
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            (work / "top.il").write_text(text)
            drop = f"proc; {f'delete {others};' if others else ''}"
            script = TO_AIG.replace("proc;", drop, 1).replace("\n", "; ").replace(";;", ";")
            _run(["yosys", "-q", "-p", script], work, seconds)
            script = "read_aiger top.aig; strash; scorr; write_aiger less.aig"  # equal registers
            _run(["yosys-abc", "-c", script], work, seconds)
            if not reach and _constant(work / "less.aig"):
                return  # the netlist itself says so
            depth = self.depths.get(name, 0)
            method = f"bmc3 -F {depth}" if depth else "bmc3 -T 60" if reach else "pdr"
            said = _run(
                ["yosys-abc", "-c", f"read_aiger less.aig; strash; {method}"], work, seconds
            )
        broken = re.search(r"Output 0.*asserted in frame (\d+)", said)
        if reach:
            assert broken, f"{name}: not reached"
        else:
            assert broken is None, f"{name}: broken in cycle {broken and broken[1]}"
            proved = "Property proved" in said or (depth and "No output asserted" in said)
            assert proved, f"{name}: not decided\n{said[-400:]}"


def _bit(condition: Value) -> Value:
    """A condition, which has one bit: of more, ``~a | b`` would not be an implication."""
    value = Value.cast(condition)
    if len(value) != 1:
        raise ValueError(f"a condition has one bit, not {len(value)}: {condition}")
    return value


def _constant(aig: Path) -> bool:
    """Whether the one output of an AIG is 0, whatever its inputs are."""
    lines = aig.read_bytes().split(b"\n")
    _, _, _, latches, outputs, *_ = lines[0].split()
    assert int(outputs) == 1, "one property at a time"
    return lines[1 + int(latches)] == b"0"


def _run(command: list[str], work: Path, seconds: int) -> str:
    """Run a tool; its output."""
    found = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=seconds)
    assert found.returncode == 0, f"{command[0]}: {found.stderr[-500:]}"
    return found.stdout
