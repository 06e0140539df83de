"""Operands of the state-space unit: rows as they come, or whole heads of this pass and a record."""

from itertools import chain
from typing import Any

from amaranth.hdl import C, Module, Signal, Value

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import RECORD_BITS
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.mamba2.ssm_heads import PARAMETERS, HeadBuffer, cut, packed
from lightmamba.hardware.rtl.mamba2.ssm_record import RecordReader, RecordWriter
from lightmamba.hardware.rtl.mamba2.ssm_walk import Held, StepWalk

__all__ = ["HeadOperands", "RowOperands", "operands_of"]


def operands_of(config: ArchConfig) -> Any:
    """Class that gives operands: ``(m, unit, job, walk, issue)`` makes it."""
    return HeadOperands if config.whole_heads else RowOperands


class RowOperands:
    """Parameters of a head, and one row of x at a time.

    Parameters
    ----------
    m : Module
    unit : Ssm
    job : Job
    walk : StepWalk
    issue : Value
        A word is issued in this cycle.

    Attributes
    ----------
    full, busy : Value
        The operands of the next word are here; some words of the record are not taken.
    recorded : list of Value
        B of the vectors of a record, a cycle after the address.
    """

    def __init__(self, m: Module, unit: Any, job: Job, walk: StepWalk, issue: Value) -> None:
        pop_row, pop_head = Signal(), Signal()
        self._x, self._head = Held(m, unit.i_x, pop_row), Held(m, unit.i_head, pop_head)
        self.full, self.busy, self.recorded = self._x.full & self._head.full, C(0), list[Value]()
        m.d.comb += [
            pop_row.eq(issue & walk.last_word),
            pop_head.eq(issue & walk.end_of_head),
        ]

    def read(self) -> tuple[list[Value], list[list[Value]]]:
        """Parameters by vector, and x by row of the word and vector, in the cycle of the issue."""
        parameters = cut(Value.cast(self._head.payload), PARAMETERS)
        return parameters, [cut(packed(self._x.payload), RECORD_BITS)]


class HeadOperands:
    """Heads of this pass, and of the record that it applies again; both wait until all is there.

    Parameters and attributes are those of :class:`RowOperands`.
    """

    def __init__(self, m: Module, unit: Any, job: Job, walk: StepWalk, issue: Value) -> None:
        end_of_head = issue & walk.end_of_head
        self._row = walk.row
        new = HeadBuffer(m, unit, job, "new")
        self._buffers, self.recorded = [new], list[Value]()
        self.full: Value = new.full
        self.busy: Value = C(0)
        m.d.comb += new.take.eq(end_of_head)
        if not unit.config.undecided:
            new.fill(unit, head=C(1), row=C(1))
            return
        self.busy = RecordWriter(m, unit, job, new).busy
        old = HeadBuffer(m, unit, job, "old")
        self._buffers.append(old)
        self.recorded = RecordReader(m, unit, job, old, unit.address).b
        self.full = new.full & (old.full | ~unit.replays)
        m.d.comb += old.take.eq(end_of_head & unit.replays)

    def read(self) -> tuple[list[Value], list[list[Value]]]:
        """Parameters by vector, and x by row of the word and vector, a cycle after the issue."""
        read = [buffer.read(self._row) for buffer in self._buffers]
        parameters = [value for each, _ in read for value in each]
        rows = zip(*(rows for _, rows in read), strict=True)
        return parameters, [list(chain.from_iterable(each)) for each in rows]
