"""Heads that wait for their steps: parameters and rows of x."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import memory

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import RECORD_BITS
from lightmamba.arch.latency import HEADS
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import payload
from lightmamba.hardware.rtl.mamba2.ssm_walk import Level, head_groups

__all__ = ["PARAMETERS", "HeadBuffer", "RowPlace", "cut", "packed", "row_bits"]

PARAMETERS = payload("DISCRETE").size


class RowPlace:
    """Place of the next row of a head: its bank, its word, and its place in the word.

    Attributes
    ----------
    last : Signal
        It is the head's last row.
    some : Signal
        There is one.
    address, place : Value
    """

    def __init__(self, m: Module, unit: Any, job: Job, name: str, heads: int) -> None:
        self.m, self.fields = m, job.fields
        self._left = Countdown(8)
        self.some, self.last = self._left.some, self._left.last
        places = (unit.config.word_rows - 1).bit_length()
        self._row = Signal(row_bits(unit.config) + places, name=f"{name}_row")
        self._bank = Signal(range(heads), name=f"{name}_bank")
        self.place, self.address = self._row[:places], Cat(self._row[places:], self._bank)
        with m.If(job.start):
            m.d.sync += self._left.load(unit.command.payload.headdim)

    def step(self, when: Value, end: Value) -> None:
        """Go to the next row, or at the ``end`` of a head to the first one of the next."""
        with self.m.If(when):
            self.m.d.sync += [self._row.eq(self._row + 1), *self._left.step()]
        with self.m.If(end):
            self.m.d.sync += [self._row.eq(0), self._bank.eq(self._bank + 1)]
            self.m.d.sync += self._left.load(self.fields.headdim)


def row_bits(config: ArchConfig) -> int:
    """Bits of the number of a word of rows within its head."""
    return max(1, (head_groups(config) - 1).bit_length())


class HeadBuffer:
    """Parameters and rows of x of two heads, for T vectors: new ones, or recorded ones.

    A row has ``RECORD_BITS`` bits per vector: q, and above it its exponent.

    Parameters
    ----------
    m : Module
    unit : Ssm
    job : Job
    name : str

    Attributes
    ----------
    open : Signal
        A head of the job may come in.
    has_parameters, wants_row : Signal
        Of this head all parameters are there; not all rows are.
    set_parameters : Signal(T)
        Those of these vectors come in this cycle, on ``parameters``; driven by the user, and so on.
    all_set : Signal
        They are the last ones.
    put_row : Signal
        A row comes, on ``row``.
    take : Signal
        The older head is not needed any more.
    full : Signal
        There is one.
    """

    def __init__(self, m: Module, unit: Any, job: Job, name: str) -> None:
        config: ArchConfig = unit.config
        self.m, self.name, self.config = m, name, config
        tokens = config.tokens
        self.set_parameters, self.parameters = Signal(tokens), Signal(tokens * PARAMETERS)
        self.all_set, self.has_parameters = Signal(), Signal()
        self.put_row, self.row = Signal(), Signal(tokens * RECORD_BITS)
        self.take, self.open = Signal(), Signal()
        level, heads = Level(m, HEADS), Countdown(10)
        self._rows = rows = RowPlace(m, unit, job, name, HEADS)
        self._bank = Signal(name=f"{name}_taken")  # of the head that is read
        self.full, self.wants_row = level.some, rows.some
        whole = Signal()  # a head is, with this cycle
        m.d.comb += [
            self.open.eq(heads.some & level.room),
            whole.eq(
                self.open
                & (self.has_parameters | self.all_set)
                & (~rows.some | (self.put_row & rows.last))
            ),
            level.put.eq(whole),
            level.take.eq(self.take),
        ]
        m.d.sync += [
            self.has_parameters.eq((self.has_parameters | self.all_set) & ~whole),
            self._bank.eq(self._bank ^ self.take),
        ]
        rows.step(self.put_row, whole)
        with m.If(whole):
            m.d.sync += heads.step()
        with m.If(job.start):
            m.d.sync += heads.load(unit.command.payload.heads)

    def fill(self, unit: Any, *, head: Value, row: Value) -> tuple[Value, Value]:
        """Take heads of this pass from the unit's inputs.

        ``head`` and ``row`` say whether parameters and a row may come now; the result is whether
        they do.
        """
        m, take_head, take_row = self.m, Signal(), Signal()
        m.d.comb += [
            unit.i_head.ready.eq(self.open & ~self.has_parameters & head),
            unit.i_x.ready.eq(self.open & self.wants_row & row),
            take_head.eq(unit.i_head.valid & unit.i_head.ready),
            take_row.eq(unit.i_x.valid & unit.i_x.ready),
            self.set_parameters.eq(take_head.replicate(len(self.set_parameters))),
            self.all_set.eq(take_head),
            self.parameters.eq(Value.cast(unit.i_head.payload)),
            self.put_row.eq(take_row),
            self.row.eq(packed(unit.i_x.payload)),
        ]
        return take_head, take_row

    def read(self, row: Value) -> tuple[list[Value], list[list[Value]]]:
        """Parameters by vector, and x by row of the word and vector; both a cycle later."""
        m, tokens, rows = self.m, self.config.tokens, self.config.word_rows
        parameters = memory.Memory(shape=tokens * PARAMETERS, depth=HEADS, init=[])
        x = memory.Memory(
            shape=rows * tokens * RECORD_BITS, depth=HEADS << row_bits(self.config), init=[]
        )
        m.submodules[f"{self.name}_parameters"], m.submodules[f"{self.name}_x"] = parameters, x
        write, read = parameters.write_port(granularity=PARAMETERS), parameters.read_port()
        write_x, read_x = x.write_port(granularity=tokens * RECORD_BITS), x.read_port()
        m.d.comb += [
            write.en.eq(self.set_parameters),
            write.addr.eq(self._rows.address[-1]),
            write.data.eq(self.parameters),
            read.addr.eq(self._bank),
            write_x.en.eq(self.put_row << self._rows.place),
            write_x.addr.eq(self._rows.address),
            write_x.data.eq(self.row.replicate(rows)),
            read_x.addr.eq(Cat(row, self._bank)),
        ]
        each = cut(read_x.data, RECORD_BITS)
        return (
            cut(read.data, PARAMETERS),
            [each[r * tokens : (r + 1) * tokens] for r in range(rows)],
        )


def cut(value: Value, bits: int) -> list[Value]:
    """Parts of ``bits`` bits, the lowest first."""
    return [value[n : n + bits] for n in range(0, len(value), bits)]


def packed(row: Any) -> Value:
    """One row of x, or a channel of B, as the record has it: all vectors next to each other."""
    return Cat(Cat(vector.q, vector.exp) for vector in row)
