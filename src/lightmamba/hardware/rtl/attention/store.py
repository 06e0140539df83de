"""Queries, keys and values of the tokens of a pass, as the attention unit keeps them."""

from typing import Any

from amaranth.hdl import C, Cat, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import memory

from lightmamba.arch.contract import BLOCK, WORD, WORD_BITS
from lightmamba.blocks.attention.hardware import in_blocks
from lightmamba.hardware.rtl.attention.shape import EXPONENT, Queries, Shape, less_one
from lightmamba.hardware.rtl.pipe import Pipe, select

__all__ = ["Columns", "Store", "kept_by_vector", "ram"]

SECTIONS = 3  # q, k, v


def ram(m: Module, name: str, bits: int, depth: int) -> memory.Memory:
    """Memory of ``depth`` words, two at least."""
    found = memory.Memory(shape=unsigned(bits), depth=max(2, depth), init=[])
    m.submodules[name] = found
    return found


class Columns:
    """Memory of columns that are used one after the other: addresses are delayed, not data.

    Parameters
    ----------
    m : Module
    name : str
    depth : int
        Words.
    cycles : list of int
        Of every column of 64 bits: cycles from the address to its data, one at least.
    """

    def __init__(self, m: Module, name: str, depth: int, cycles: list[int]) -> None:
        self._pipe, self._columns = Pipe(m), dict[int, list[int]]()  # of every cycle
        for column, cycle in enumerate(cycles):
            self._columns.setdefault(cycle, []).append(column)
        depth = in_blocks(depth, WORD_BITS * len(cycles))
        self._rams = {
            cycle: ram(m, f"{name}{cycle}", WORD_BITS * len(mine), depth)
            for cycle, mine in self._columns.items()
        }

    def write(self, address: Value, columns: list[Value], enables: list[Value]) -> None:
        """Write some of the columns."""
        for cycle, mine in self._columns.items():
            port = self._rams[cycle].write_port(granularity=WORD_BITS)
            self._pipe.m.d.comb += [
                port.addr.eq(address),
                port.data.eq(Cat(columns[n] for n in mine)),
                port.en.eq(Cat(enables[n] for n in mine)),
            ]

    def read(self, address: Value) -> list[Value]:
        """Data of every column, each in its own cycle."""
        given, found = self._pipe.input(address), dict[int, Value]()
        for cycle, mine in self._columns.items():
            port = self._rams[cycle].read_port()
            self._pipe.m.d.comb += port.addr.eq(self._pipe.delay(given, cycle - 1).value)
            found |= {n: port.data.word_select(k, WORD_BITS) for k, n in enumerate(mine)}
        return [found[n] for n in sorted(found)]


def kept_by_vector(
    m: Module, stores: list[memory.Memory], where: Value, values: Value, when: Value,
    vector: Value, at: Value, outputs: list[Any],
) -> None:  # fmt: skip
    """Write to the memory of one vector, and read all of them at ``at``, a cycle later."""
    for n, (store, output) in enumerate(zip(stores, outputs, strict=True)):
        enter, read = store.write_port(), store.read_port()
        m.d.comb += [
            enter.addr.eq(where),
            enter.data.eq(values),
            enter.en.eq(when & (vector == n)),
            read.addr.eq(at),
            output.eq(read.data),
        ]


class Store(Elaboratable):
    """Take the rows of q, k and v of all vectors, and give them back.

    A channel of every vector a cycle. Queries are read R·W/M channels at a time, keys and values as
    the words of a position in memory.

    Parameters
    ----------
    shape : Shape

    Attributes
    ----------
    start : Signal
        A job starts; ``fields`` has its numbers from the next cycle on.
    fields : command of the unit
        Stable from the cycle after the start on.
    taken, q, exp
        A row is there, and what it is of each vector.
    asked, whole : Signal
        All queries have been taken; all rows.
    wants : Signal
        More are to come.
    query : Signal
        Address of queries: part, head, tile, from the lowest bit.
    queries, query_exps : list of Signal
        By vector: R·W/M values, a cycle before the columns of keys that they meet, and R·W/M/32
        exponents, one cycle after the address.
    words : list of (address, exponents?, data)
        Two read ports: of the loader and of the writer. From the lowest bit: word, value instead of
        key, head; or the word of exponents of a head. Data of each vector, one cycle later.
    """

    def __init__(self, shape: Shape, fields: Any) -> None:
        self.shape, self.fields = shape, fields
        self.start, self.taken, self.wants, self.asked, self.whole = (Signal() for _ in range(5))
        self.q = [Signal(8, name=f"q{n}") for n in range(shape.tokens)]
        self.exp = [Signal(EXPONENT, name=f"exp{n}") for n in range(shape.tokens)]
        self.query = Signal(sum(shape.bits(name) for name in ("heads", "tiles", "parts")))
        width = shape.rows * shape.wide
        self.queries = [Signal(width * 8, name=f"queries{n}") for n in range(shape.tokens)]
        self.query_exps = [
            Signal(width // BLOCK * EXPONENT, name=f"query_exps{n}") for n in range(shape.tokens)
        ]
        self.word_bits = (-(-shape.head_dim // WORD) - 1).bit_length()
        address = shape.bits("heads") + 1 + self.word_bits
        self.reads = [
            (
                Signal(address, name=f"word{n}"),
                Signal(name=f"exponents{n}"),
                [Signal(WORD_BITS, name=f"data{n}_{v}") for v in range(shape.tokens)],
            )
            for n in range(2)
        ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        s, f = self.shape, self.fields
        section, head = Signal(range(SECTIONS)), Signal(s.bits("heads"))
        group, channel = Queries(s, less_one(m, f.per_group)), Signal(8)
        tile, row = group.tile, group.row
        ends_head, ends_group, ends_section = Signal(), Signal(), Signal()
        m.d.comb += [
            ends_head.eq(channel == less_one(m, f.head_dim)),
            ends_group.eq(group.last | (section != 0)),
            ends_section.eq(ends_head & ends_group & (head == less_one(m, f.heads))),
        ]
        with m.If(self.start):
            m.d.sync += [
                *(each.eq(0) for each in (section, head, channel, *group.counters)),
                self.wants.eq(1),
                self.asked.eq(0),
                self.whole.eq(0),
            ]
        with m.Elif(self.taken):
            m.d.sync += channel.eq(Mux(ends_head, 0, channel + 1))
            with m.If(ends_head):
                m.d.sync += group.step(ends_group)
                with m.If(ends_group):
                    m.d.sync += head.eq(Mux(ends_section, 0, head + 1))
            with m.If(ends_section):
                m.d.sync += [section.eq(section + 1), self.asked.eq(1)]
                with m.If(section == SECTIONS - 1):
                    m.d.sync += [self.wants.eq(0), self.whole.eq(1)]
        for n in range(s.tokens):
            word = Signal(WORD_BITS - 8, name=f"gathered{n}")  # of 64 bits, but for its last byte
            with m.If(self.taken):
                m.d.sync += word.eq(Cat(word[8:], self.q[n]))
            given = Cat(word, self.q[n])
            self._queries(m, n, self.taken & (section == 0), Cat(head, tile), row, channel, given)
            self._words(m, n, self.taken & (section != 0), head, section == 2, channel, given)
        return m

    def _queries(
        self, m: Module, n: int, write: Value, at: Value, row: Value, channel: Value, word: Value
    ) -> None:
        """Write a word and exponents; the first word of a block clears the others."""
        s = self.shape
        part_bits = s.bits("parts")
        within = (s.wide - 1).bit_length()  # bits of a channel of a word
        part = channel[within : within + part_bits]
        byte_bits, block_bits = WORD.bit_length() - 1, BLOCK.bit_length() - 1
        place, block = channel[byte_bits:block_bits], channel[block_bits:within]
        whole = write & channel[:byte_bits].all()
        depth = 1 << (len(at) + part_bits)
        values = Columns(
            m, f"queries{n}", depth,
            [s.key_cycle(column) - 1 for _ in range(s.rows) for column in range(s.per)],
        )  # fmt: skip
        chosen = [
            (row == r) & (block == b) if s.blocks > 1 else row == r
            for r in range(s.rows) for b in range(s.blocks)
        ]  # fmt: skip
        places = range(BLOCK // WORD)
        values.write(
            Cat(part, at),
            [Mux((place == 0) & (k != 0), 0, word) for _ in chosen for k in places],
            [whole & each & ((place == 0) | (place == k)) for each in chosen for k in places],
        )
        m.d.comb += self.queries[n].eq(Cat(values.read(self.query)))
        exps = ram(m, f"query_exps{n}", s.rows * s.blocks * EXPONENT, depth)
        enter, read = exps.write_port(granularity=EXPONENT), exps.read_port()
        m.d.comb += [
            enter.addr.eq(Cat(part, at)),
            enter.data.eq(self.exp[n].replicate(len(chosen))),
            enter.en.eq(Cat(write & each & (channel[:block_bits] == 0) for each in chosen)),
            read.addr.eq(self.query),
            self.query_exps[n].eq(read.data),
        ]

    def _words(
        self, m: Module, n: int, write: Value, head: Value, value: Value, channel: Value,
        word: Value,
    ) -> None:  # fmt: skip
        """Write a word of a key or a value into those of its position."""
        s = self.shape
        byte_bits, per = WORD.bit_length() - 1, WORD_BITS // EXPONENT // 2  # exponents of a key
        words = ram(m, f"words{n}", WORD_BITS, 1 << (s.bits("heads") + 1 + self.word_bits))
        enter = words.write_port()
        m.d.comb += [
            enter.addr.eq(Cat(channel[byte_bits : byte_bits + self.word_bits], value, head)),
            enter.data.eq(word),
            enter.en.eq(write & channel[:byte_bits].all()),
        ]
        exps = ram(m, f"exps{n}", WORD_BITS, 1 << s.bits("heads"))
        enter = exps.write_port(granularity=EXPONENT)
        begins = channel[: BLOCK.bit_length() - 1] == 0
        fresh = begins & ~value & (channel == 0)  # the first of all clears the others
        block = Cat(channel[BLOCK.bit_length() - 1 :], value)
        mine = [block == k for k in range(2 * per)]
        m.d.comb += [
            enter.addr.eq(head),
            enter.data.eq(Cat(Mux(each, self.exp[n], 0) for each in mine)),
            enter.en.eq(Mux(write, Cat(fresh | (begins & each) for each in mine), 0)),
        ]
        for address, exponents, found in self.reads:
            read, of_exps = words.read_port(), exps.read_port()
            late = Signal()
            m.d.sync += late.eq(exponents)
            m.d.comb += [
                read.addr.eq(address),
                of_exps.addr.eq(address[1 + self.word_bits :] if s.bits("heads") else C(0)),
                found[n].eq(select(m, late, [read.data, of_exps.data])),
            ]
