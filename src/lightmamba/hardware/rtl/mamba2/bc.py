"""Store of B and C of one layer, in words as wide as those of the state."""

from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, exponents
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import command, i_stream, o_stream, payload

__all__ = ["BCStore", "RowWalk", "bc_layout", "element_memory"]


def bc_layout(elements: int) -> data.StructLayout:
    """Word of B or C: elements, and the exponent of each block of 32, or of that of its part."""
    return data.StructLayout(
        {
            "q": data.ArrayLayout(signed(8), elements),
            "exp": data.ArrayLayout(unsigned(4), exponents(elements)),
        }
    )


class BCStore(wiring.Component):
    """Take B and C of all groups, then let them be read for as long as the token is not taken.

    One element per cycle. A group has ``config.row_words`` words, the last one that it fills padded
    with zeros; words that it does not reach are cleared behind it, one per cycle, as a model before
    this one may have filled them. B may come before C or after it, each all groups in a run.

    ``o_ready`` offers its token in the cycle after the last element (``latency`` 1), or after the
    last word that is cleared. Nothing of the next job is taken before it is; so whoever reads takes
    it when he has finished.

    Members
    -------
    command : In(stream of command("bc"))
    i : In(stream of BLOCKED)
        Elements of kind B and C.
    o_ready : Out(stream of 1)
        All of a job is stored.
    address : In(range(config.bc_words))
        Word to read: group·row_words + word.
    B, C : Out(bc_layout(config.bc_elements))
        The word at the address, one cycle later.
    busy : Out(1)
        A command is not finished, or its token is not taken.
    """

    latency, interval = 1, 1

    def __init__(self, config: ArchConfig) -> None:
        self.config = config
        self.depth = max(2, config.bc_words)
        layout = bc_layout(config.bc_elements)
        super().__init__(
            {
                "command": i_stream(command("bc", config)),
                "i": i_stream(payload("BLOCKED", config)),
                "o_ready": o_stream(1),
                "address": In(range(self.depth)),
                "B": Out(layout),
                "C": Out(layout),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Job(m, self.command, self.busy)
        taken = Signal()
        element_end, group_end = Signal(9), Signal(4)  # last of a group; last group
        group = Signal(4)
        second = Signal()  # one of B and C is complete
        row = RowWalk(m, self.config, taken, element_end)
        m.d.comb += [
            self.i.ready.eq(job.active & ~self.o_ready.valid & ~row.clearing),
            taken.eq(self.i.valid & self.i.ready),
        ]
        with m.If(job.start):
            fields = self.command.payload
            m.d.sync += [element_end.eq(fields.d_state - 1), group_end.eq(fields.groups - 1)]
        with m.If(row.end):
            m.d.sync += group.eq(group + 1)
            with m.If(group == group_end):
                m.d.sync += [
                    group.eq(0), *row.restart(), second.eq(~second), self.o_ready.valid.eq(second),
                ]  # fmt: skip
        released = self.o_ready.valid & self.o_ready.ready
        with m.If(released):
            m.d.sync += self.o_ready.valid.eq(0)
        job.end(released)

        kinds = machine(self.config.kinds).kinds
        for name in ("B", "C"):
            ours = taken & (self.i.payload.kind == kinds[name])
            m.d.comb += Value.cast(getattr(self, name)).eq(
                element_memory(
                    m, name, self.config, write=ours, clear=row.clearing, word=row.word,
                    place=row.place, q=self.i.payload.q, exp=self.i.payload.exp,
                    address=self.address,
                )
            )  # fmt: skip
        return m


class RowWalk:
    """Walk over the words of rows that are filled element by element, one row after the other.

    It goes on over the words that a row does not reach, one per cycle, so that they are cleared.

    Parameters
    ----------
    m : Module
    config : ArchConfig
    taken : Value
        An element comes; never while words are cleared.
    last : Value
        Number of a row's last element.

    Attributes
    ----------
    place : Value
        Of the element in its word; 0 while words are cleared.
    word : Signal
        Of the element, or the one that is cleared.
    clearing : Signal
        A word is cleared.
    end : Signal
        A row ends in this cycle.
    """

    def __init__(self, m: Module, config: ArchConfig, taken: Value, last: Value) -> None:
        size, words = config.bc_elements, config.row_words
        element = Signal(9)
        base = Signal(range(max(2, config.bc_words) + 1))
        self.word, self.clearing, self.end = Signal.like(base), Signal(), Signal()
        self.place = element[: size.bit_length() - 1]
        ends, last_word = Signal(), Signal()
        m.d.comb += [
            ends.eq(taken & (element == last)),
            last_word.eq(self.word == base + (words - 1)),
            self.end.eq(last_word & (self.clearing | ends)),
        ]
        with m.If(taken):
            m.d.sync += element.eq(element + 1)
            with m.If(self.place == size - 1):
                m.d.sync += self.word.eq(self.word + 1)
        with m.If(ends | self.clearing):
            m.d.sync += [element.eq(0), self.word.eq(self.word + 1), self.clearing.eq(~last_word)]
        with m.If(self.end):
            m.d.sync += base.eq(base + words)
        self._state = (element, base, self.word, self.clearing)

    def restart(self) -> list[Any]:
        """Begin with the first row again."""
        return [signal.eq(0) for signal in self._state]


def element_memory(
    m: Module, name: str, config: ArchConfig, *, write: Value, clear: Value, word: Value,
    place: Value, q: Value, exp: Value, address: Value,
) -> Value:  # fmt: skip
    """Memory of words of elements and exponents; the first element of a word clears the others.

    ``clear`` clears all elements of a word, at place 0. Words of one block have an exponent
    together, which stays: some of them may have no element, and to a block of zeros it means
    nothing.
    """
    size, shared = config.bc_elements, config.block_words
    low = shared.bit_length() - 1
    parts = []
    for part, count, width, at, value, writes, first_bit in (
        ("q", size, 8, place, Mux(clear, 0, q), write | clear, 0),
        ("exp", config.bc_blocks, 4, place[BLOCK.bit_length() - 1 :], exp, write, low),
    ):
        depth = max(2, config.bc_words >> first_bit)
        store = memory.Memory(shape=unsigned(count * width), depth=depth, init=[])
        m.submodules[f"{name}_{part}"] = store
        enter, read = store.write_port(granularity=width), store.read_port()
        first = place == 0
        chosen = Cat(at == n for n in range(count)) if count > 1 else C(1, 1)
        m.d.comb += [
            enter.addr.eq(word[first_bit:]),
            enter.data.eq(Cat(value if n == 0 else Mux(first, 0, value) for n in range(count))),
            enter.en.eq(Mux(writes, Mux(first, ~C(0, count), chosen), 0)),
            read.addr.eq(address[first_bit:]),
        ]
        parts.append(read.data)
    return Cat(parts)
