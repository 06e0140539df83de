"""Walk of the state-space unit through a job: held operands, and the place of the next issue."""

from typing import Any

from amaranth.hdl import C, Const, Module, Mux, Signal, Value
from amaranth.lib import fifo, memory

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import encode, width
from lightmamba.arch.passes import ALONE, STEP, steps
from lightmamba.hardware.rtl.layouts import record
from lightmamba.hardware.rtl.mamba2.ssm_update import dither_of

__all__ = ["Held", "HeldBlock", "Level", "StepWalk", "head_groups", "head_words"]


def head_groups(config: ArchConfig) -> int:
    """Words of a head, each with ``word_rows`` rows, where a row is not longer than a word."""
    return -(-config.head_rows // config.word_rows)


def head_words(config: ArchConfig) -> int:
    """Words of S elements of a head of ``head_rows`` rows, two at least."""
    return max(2, head_groups(config) * config.row_words)


class Held:
    """One operand, kept until it is popped; ready does not depend on valid."""

    def __init__(self, m: Module, i: Any, pop: Value) -> None:
        self.full = Signal()
        self.payload: Any = Signal(i.payload.shape(), reset_less=True)
        m.d.comb += i.ready.eq(~self.full | pop)
        with m.If(i.ready):
            m.d.sync += [self.full.eq(i.valid), self.payload.eq(i.payload)]


class HeldBlock:
    """A word of the state, and all that follow it in its block.

    Parameters
    ----------
    m : Module
    i : stream
    pop : Value
        The word is taken in this cycle.
    walk : StepWalk
        Whose next word continues a block, or ends it.

    Attributes
    ----------
    full : Signal
        The first word of a block is here, and all others come in time.
    payload : Value
    """

    def __init__(self, m: Module, i: Any, pop: Value, walk: "StepWalk") -> None:
        count = walk.config.block_words
        if count == 1:
            held = Held(m, i, pop)
            self.full, self.payload = held.full, held.payload
            return
        m.submodules.words = words = fifo.SyncFIFOBuffered(
            width=len(Value.cast(i.payload)), depth=2 * count
        )
        level, place, put = Level(m, 2), Signal(range(count)), i.valid & i.ready
        self.full, self.payload = level.some, i.payload.shape()(words.r_data)
        m.d.sync += place.eq(place + put)
        m.d.comb += [
            i.ready.eq(words.w_rdy),
            words.w_en.eq(i.valid),
            words.w_data.eq(Value.cast(i.payload)),
            words.r_en.eq(pop),
            level.put.eq(put & (place == count - 1)),
            level.take.eq(pop & ~walk.inside),
        ]


class Level:
    """How many of something there are, with its two comparisons in registers.

    Attributes
    ----------
    put, take : Signal
        One more, one less, in this cycle. Driven by the user.
    some, room : Signal
        There is one; one more fits.
    """

    def __init__(self, m: Module, depth: int) -> None:
        self.put, self.take = Signal(), Signal()
        self.some, self.room = Signal(), Signal(init=1)
        count = Signal(range(depth + 1))
        m.d.sync += [
            count.eq(count + self.put - self.take),
            self.some.eq(self.put | (count > 1) | ((count == 1) & ~self.take)),
            self.room.eq(
                self.take | ((count != depth) & ~((count == depth - 1) & self.put))
            ),
        ]  # fmt: skip


class StepWalk:
    """Head by head, step by step, row by row, word by word: where the next issue is.

    Parameters
    ----------
    m : Module
    unit : Ssm
        With the port through which steps are written.
    fields : data.View
        Its command.

    Attributes
    ----------
    step : view of STEP
        Where it is. Registered.
    goes_on : Signal
        The next step begins with the results of this one.
    inside, ends : Value
        The word continues a block; it is the last of its block. (A block may fill several words.)
    first, last_word, end_of_step, end_of_head, last : Signal
        It is a row's first word, its last one, that of a step, of a head, of the job. (A "row" is
        here a word's ``word_rows`` rows, where a word holds several.)
    row, word : Signal
        Within the head.
    address : Signal
        Word of B and C.
    offset : Signal
        Dither of the word's first element, less that of the head's first; eight bits.
    head : Signal
        Number of the head, modulo 256, for the dither of its decay.
    down : list of Signal
        Dither of the first element of each row of a word, less that of its first row.
    """

    def __init__(self, m: Module, unit: Any, fields: Any) -> None:
        config: ArchConfig = unit.config
        self.m, self.unit, self.fields, self.config = m, unit, fields, config
        self.first, self.last_word = Signal(), Signal()
        self.end_of_step, self.end_of_head, self.last = Signal(), Signal(), Signal()
        self.row = Signal(range(max(2, head_groups(config))), reset_less=True)
        self.word = Signal(range(head_words(config)), reset_less=True)
        self.address = Signal(range(max(2, config.bc_words)), reset_less=True)
        self.offset = Signal(8, reset_less=True)
        self.head = Signal(8, reset_less=True)
        part = self.word[: config.block_words.bit_length() - 1]
        self.inside, self.ends = part.any(), part.all()
        self.step: Any = Signal(record(STEP))
        self.goes_on = Signal()

        rows = config.word_rows
        words = fields.words if config.row_words > 1 else C(1)
        self._starts = {
            "words": words, "rows": fields.headdim[rows.bit_length() - 1 :],
            "per_group": fields.per_group, "heads": fields.heads,
        }  # fmt: skip
        self._counts = {  # what is left after this one
            name: Signal(len(start), reset_less=True, name=f"{name}_left")
            for name, start in self._starts.items()
        }
        self._base = Signal(len(self.address) + 1, reset_less=True)  # of the group
        self._row = Signal(8, reset_less=True)  # dither of the row's first element
        self.down = [Signal(8, reset_less=True, name=f"down{r}") for r in range(rows + 1)]
        m.d.sync += [
            down.eq(dither_of(r) * fields.stride) for r, down in enumerate(self.down)
        ]  # fmt: skip

        self._is_last = Signal()  # this step is the last one
        if config.steps > 1:
            self._list()
        else:  # the step of a pass of one token
            m.d.comb += [self.step.eq(Const(encode(STEP, *steps([ALONE])))), self._is_last.eq(1)]
        zero = {name: count == 0 for name, count in self._counts.items()}
        self._end_of_group = zero["per_group"]
        m.d.comb += [
            self.last_word.eq(zero["words"]),
            self.end_of_step.eq(zero["words"] & zero["rows"]),
            self.end_of_head.eq(self.end_of_step & self._is_last),
            self.last.eq(self.end_of_head & zero["heads"]),
        ]

    def _list(self) -> None:
        """Steps in a memory that the host writes."""
        m, unit = self.m, self.unit
        m.submodules.steps = listed = memory.Memory(
            shape=width(STEP), depth=self.config.steps, init=[]
        )
        write, read = listed.write_port(), listed.read_port(domain="comb")
        self._index = Signal(range(self.config.steps))  # of the step after this one
        self._next = record(STEP)(read.data)
        m.d.comb += [
            write.en.eq(unit.step_write),
            write.addr.eq(unit.step_index),
            write.data.eq(unit.step_data),
            read.addr.eq(self._index),
            self.goes_on.eq(~self._next.load),
        ]

    def begin(self, start: Value) -> None:
        """Go to the first word of all, in every cycle before the first issue; then ``start``."""
        self._to_next_step(rewind=~start)
        self.m.d.sync += [
            *(count.eq(self._starts[name] - 1) for name, count in self._counts.items()),
            self.first.eq(1), self.address.eq(0), self._base.eq(0), self.row.eq(0),
            self.word.eq(0), self._row.eq(0), self.offset.eq(0), self.head.eq(0),
        ]  # fmt: skip

    def advance(self) -> None:
        """Go to the next word."""
        m = self.m
        m.d.sync += [
            self.first.eq(self.last_word),
            self._count("words"),
            self.address.eq(self.address + 1),
            self.word.eq(self.word + 1),
            self.offset.eq(self.offset + dither_of(self.config.state_elements)),
        ]
        with m.If(self.last_word):
            row = Signal(8)
            m.d.comb += row.eq(Mux(self.end_of_step, 0, self._row + self.down[-1]))
            m.d.sync += [
                self._count("rows"), self.row.eq(self.row + 1), self.address.eq(self._base),
                self._row.eq(row), self.offset.eq(row),
            ]  # fmt: skip
        with m.If(self.end_of_step):
            m.d.sync += [self.row.eq(0), self.word.eq(0)]
            self._to_next_step()
        with m.If(self.end_of_head):
            m.d.sync += [
                self._count("per_group"), self._count("heads"), self.head.eq(self.head + 1),
            ]  # fmt: skip
            with m.If(self._end_of_group):
                base = self._base + self.config.row_words
                m.d.sync += [self._base.eq(base), self.address.eq(base)]

    def _to_next_step(self, rewind: Value | int = 0) -> None:
        """Take the next step of the list, if there is one; ``rewind`` before the first."""
        if self.config.steps == 1:
            return
        is_last = self._index == self.unit.last_step
        self.m.d.sync += [
            self.step.eq(self._next),
            self._is_last.eq(is_last),
            self._index.eq(Mux(is_last | rewind, 0, self._index + 1)),
        ]

    def _count(self, name: str) -> Any:
        count = self._counts[name]
        return count.eq(Mux(count == 0, self._starts[name] - 1, count - 1))
