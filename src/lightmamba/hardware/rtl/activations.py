"""Activation buffer: the quantized vectors that the lanes read, word by word, once per row."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.hardware.machine.spine import STORED, rows_per_cycle
from lightmamba.hardware.rtl.layouts import CODED, i_stream

__all__ = ["ActivationBuffer"]

NIBBLE = 4
CODE_BITS = 6


class ActivationBuffer(wiring.Component):
    """Keep the input vector of in_proj or the head, and that of out_proj.

    ``width`` elements per cycle on ``i_in``, one on ``i_out``; the first of a word is the lowest. A
    word may be read ``latency`` cycles after its last element was taken, from then on one word per
    cycle. An input waits while its whole memory is filled and not released.

    Parameters
    ----------
    config : ArchConfig

    Members
    -------
    i_in, i_out : In(stream of width x CODED), In(stream of 1 x CODED)
        Vectors, in whole words; ``width`` are as many as the epilogue finishes rows in a cycle. All
        elements of a block carry its code.
    gated : In(1)
        Which vector is read: 0 the residual stream's (``i_in``), 1 the gate's (``i_out``).
    address : In(range(max(in_words, out_words)))
        Word of it.
    filled : Out(1)
        That word is there; combinational.
    enable : In(1)
        Read it: ``q`` and ``code`` hold it from the next cycle on, until another is read.
    upper : In(1)
        Show the upper nibbles of activations of 8 bits instead of the lower ones; combinational.
        Only where the multipliers have 4 bits, or where sums of several vectors are added: those
        of 8 bits then show the whole activation otherwise. q = 16·upper + lower, both signed.
    q : Out(products x signed(multiplier_bits))
        Activations, or their nibbles.
    code : Out(codes x unsigned(6))
        Scale codes of their blocks.
    release : In(1)
        That vector has been read for the last time: its memory is empty from the next cycle on.
    words : In
        Words of that vector. Only where sums of several vectors are added; then the one behind it
        on ``i_out`` may come before, and is the first from that cycle on.
    """

    latency, interval = STORED, 1

    i_in: Any
    i_out: Any
    gated: Any
    address: Any
    filled: Any
    enable: Any
    upper: Any
    q: Any
    code: Any
    release: Any

    def __init__(self, config: ArchConfig) -> None:
        self.config = config
        words = range(max(2, config.in_words, config.out_words) + 1)
        super().__init__(
            ({"words": In(words)} if config.added_channels else {})
            | {
                "i_in": i_stream(data.ArrayLayout(CODED, rows_per_cycle(config))),
                "i_out": i_stream(data.ArrayLayout(CODED, 1)),
                "gated": In(1),
                "address": In(range(max(2, config.in_words, config.out_words))),
                "filled": Out(1),
                "enable": In(1),
                "upper": In(1),
                "q": Out(data.ArrayLayout(signed(config.multiplier_bits), config.products)),
                "code": Out(data.ArrayLayout(CODE_BITS, config.codes)),
                "release": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, bits = self.config, self.config.multiplier_bits
        in_filled, in_q, in_code = self._vector(m, "in", self.i_in, c.in_words, 8, ~self.gated)
        # Addresses of vectors one behind another go around by themselves.
        depth = c.out_words
        if c.added_channels:
            depth = 1 << max(1, (c.out_words - 1).bit_length())
        out_filled, out_q, out_code = self._vector(
            m, "out", self.i_out, depth, c.out_bits, self.gated
        )
        m.d.comb += [
            self.filled.eq(Mux(self.gated, out_filled, in_filled)),
            Value.cast(self.code).eq(Mux(self.gated, out_code, in_code)),
        ]
        for n in range(c.products):
            given = self._half(in_q, n, 8)
            if c.added_channels and not c.head_twice:
                upper = given[NIBBLE:].as_signed() + given[NIBBLE - 1]
                given = Mux(self.upper, upper[:NIBBLE].as_signed(), given)
            gated = self._half(out_q, n, c.out_bits)
            m.d.comb += self.q[n].eq(Mux(self.gated, gated, given)[:bits])
        return m

    def _half(self, word: Value, number: int, bits: int) -> Value:
        """An activation of a word, or the half of it that is wanted."""
        value = word.word_select(number, bits)
        if not (self.config.head_twice and bits > NIBBLE):
            return value.as_signed()
        return Mux(self.upper, value[NIBBLE:].as_signed(), value[:NIBBLE].as_signed())

    def _vector(
        self, m: Module, name: str, i: Any, depth: int, bits: int, chosen: Value
    ) -> tuple[Value, Value, Value]:
        """Memory of one vector: whether the word at ``address`` is there; q and codes read."""
        c = self.config
        values, codes = c.products * bits, c.codes * CODE_BITS
        stored = memory.Memory(shape=values + codes, depth=max(2, depth), init=[])
        m.submodules[f"{name}_memory"] = stored
        write, read = stored.write_port(), stored.read_port()

        q = Signal(values, reset_less=True, name=f"{name}_q")
        code = Signal(codes, reset_less=True, name=f"{name}_code")
        beats = c.products // len(i.payload)  # of a word
        place = Signal(range(beats), name=f"{name}_place")
        complete = Signal(name=f"{name}_complete")
        filled = Signal(range(depth + 1), name=f"{name}_filled")
        taken = Signal(name=f"{name}_taken")
        m.d.comb += [i.ready.eq(filled != depth), taken.eq(i.valid & i.ready)]
        m.d.sync += complete.eq(taken & (place == beats - 1))
        in_block = min(BLOCK, c.products) // len(i.payload)
        block_end = place[: (in_block - 1).bit_length()].all()
        with m.If(taken):
            new = Cat(self._stored(element.q, bits) for element in i.payload)
            m.d.sync += [place.eq(place + 1), q.eq(Cat(q[len(new) :], new))]
            with m.If(block_end):
                m.d.sync += code.eq(Cat(code[CODE_BITS:], i.payload[0].code))

        release, to, at = self.release & chosen, filled, self.address
        if name == "out" and c.added_channels:
            to, at = self._around(m, filled, complete, release)
        else:
            with m.If(release):
                m.d.sync += filled.eq(0)
            with m.Elif(complete):
                m.d.sync += filled.eq(filled + 1)
        m.d.comb += [
            write.addr.eq(to),
            write.data.eq(Cat(q, code)),
            write.en.eq(complete),
            read.addr.eq(at),
            read.en.eq(self.enable & chosen),
        ]
        return self.address < filled, read.data[:values], read.data[values:]

    def _around(
        self, m: Module, filled: Signal, complete: Value, release: Value
    ) -> tuple[Value, Value]:
        """Place of the next word, and of the one that is read, where vectors follow each other."""
        bits = len(filled) - 1  # which counts up to a power of two
        first, end = (Signal(bits, name=f"out_{name}") for name in ("first", "end"))
        with m.If(complete):
            m.d.sync += end.eq(end + 1)
        with m.If(release):
            m.d.sync += first.eq(first + self.words)
        m.d.sync += filled.eq(filled + complete - Mux(release, self.words, 0))
        return end, (first + self.address)[:bits]

    def _stored(self, q: Value, bits: int) -> Value:
        """An activation as the memory keeps it: two signed nibbles where it is read in two."""
        if not (self.config.head_twice and bits > NIBBLE):
            return q[:bits]
        upper = q[NIBBLE:] + q[NIBBLE - 1]
        return Cat(q[:NIBBLE], upper[:NIBBLE])
