"""State between memory and the SSM: beats to and from words of S elements.

In memory the words of a head are in order, in beats as wide as the port; one beat of exponents (a
byte per 32 elements, the first lowest) precedes every 32 beats of elements. Both end with a head,
padded with zeros. Exponents of 32 beats fill one beat at every width. With several ports, each has
its part of every word, as if it were a word.
"""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import EXPONENT_RUN, exponents
from lightmamba.arch.ports import gear
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import i_stream, o_stream

__all__ = ["STATE_COMMAND", "StatePacker", "StateUnpacker", "state_layout"]

STATE_COMMAND = data.StructLayout({"words": unsigned(32)})  # of one head
PERIOD = EXPONENT_RUN  # beats of elements after each beat of exponents
EXP_BITS = 5


def state_layout(elements: int) -> data.StructLayout:
    """Word of state: elements, and the exponent of each block of 32, or of that of its part."""
    return data.StructLayout(
        {
            "q": data.ArrayLayout(signed(8), elements),
            "exp": data.ArrayLayout(unsigned(EXP_BITS), exponents(elements)),
        }
    )


class _Gear:
    """How words of S elements and beats of a port meet: one is a multiple of the other."""

    def __init__(self, config: ArchConfig) -> None:
        self.port, self.word = config.state_port_bits, config.port_elements * 8
        self.beats, self.words = gear(self.word, self.port)
        self.exps = exponents(config.port_elements)  # of a word, a byte each
        self.shared = config.block_words  # words that share them
        self.slots = PERIOD * self.port // self.word  # words between two beats of exponents


class StateUnpacker(wiring.Component):
    """Words of one head per command out of its beats, and not one beat more.

    ``interval`` cycles per word, besides one for each beat of exponents; ``latency`` cycles from
    the beat that completes a word to the word.

    Members
    -------
    command : In(stream of {words u32})
    i : In(stream of config.state_port_bits)
        Beats.
    o : Out(stream of state_layout(S))
        Words.
    busy : Out(1)
        A command is not finished, or its words are not taken.
    """

    latency = 2

    def __init__(self, config: ArchConfig) -> None:
        self.gear = _Gear(config)
        self.interval = self.gear.beats
        super().__init__(
            {
                "command": i_stream(STATE_COMMAND),
                "i": i_stream(self.gear.port),
                "o": o_stream(state_layout(config.port_elements)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, gear = Module(), self.gear
        job = Job(m, self.command, self.busy)
        whole, tail = (
            Countdown(32),
            Signal(range(gear.words + 1)),
        )  # beats to come; words of one more
        more = whole.some | tail.any()
        period = Signal(range(PERIOD + 1))  # beats of elements before the next one of exponents
        exps = Signal(gear.port, reset_less=True)
        chunk = Signal(max(gear.port, gear.word), reset_less=True)
        part, have = Signal(range(max(2, gear.beats))), Signal(range(gear.words + 1))

        take, move, room = Signal(), Signal(), Signal()
        m.d.comb += [
            move.eq((have != 0) & (~self.o.valid | self.o.ready)),
            room.eq((have == 0) | ((have == 1) & move)),
            self.i.ready.eq(job.active & more & room),
            take.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(move):
            m.d.sync += [
                self.o.valid.eq(1),
                Value.cast(self.o.payload.q).eq(chunk[: gear.word]),
                *(self.o.payload.exp[n].eq(exps[8 * n :]) for n in range(gear.exps)),
                chunk.eq(chunk >> gear.word),
                have.eq(have - 1),
            ]
        with m.If(_every(m, move, job.start, gear.shared)):
            m.d.sync += exps.eq(exps >> 8 * gear.exps)
        with m.If(take & (period == 0)):
            m.d.sync += [exps.eq(self.i.payload), period.eq(PERIOD)]
        with m.Elif(take):
            m.d.sync += [
                chunk.eq(Cat(chunk[gear.port :], self.i.payload)),
                period.eq(period - 1),
                part.eq(part + 1),
            ]
            with m.If(part == gear.beats - 1):
                m.d.sync += part.eq(0)
                with m.If(whole.some):
                    m.d.sync += [*whole.step(), have.eq(gear.words)]
                with m.Else():
                    m.d.sync += [have.eq(tail), tail.eq(0)]
        with m.If(job.start):
            words, places = self.command.payload.words, exact_log2(gear.words)
            m.d.sync += [*whole.load(words[places:]), tail.eq(words[:places]), period.eq(0)]
        job.end(~more & (have == 0) & ~self.o.valid)
        return m


def _every(m: Module, step: Value, restart: Value, count: int) -> Value:
    """A step that is the last of ``count`` since the restart, and then of each ``count``."""
    if count == 1:
        return step
    place = Signal(range(count))
    with m.If(step):
        m.d.sync += place.eq(place + 1)
    with m.If(restart):
        m.d.sync += place.eq(0)
    return step & (place == count - 1)


class StatePacker(wiring.Component):
    """Beats of one head per command, as :class:`StateUnpacker` takes them.

    The exponents of 32 beats are known after the last of them, so these wait in a queue.
    ``interval`` cycles per word, besides one for each beat of exponents; ``latency`` cycles from
    the word that completes 32 beats, or the head, to the beat of exponents. The words of a head
    follow those of the one before while its last beats wait.

    Members
    -------
    command : In(stream of {words u32})
    i : In(stream of state_layout(S))
        Words.
    o : Out(stream of config.state_port_bits)
        Beats.
    busy : Out(1)
        A command is not finished, or its beats are not taken.
    """

    def __init__(self, config: ArchConfig) -> None:
        self.gear = _Gear(config)
        self.interval = self.gear.beats
        self.latency = 1 + self.gear.beats
        super().__init__(
            {
                "command": i_stream(STATE_COMMAND),
                "i": i_stream(state_layout(config.port_elements)),
                "o": o_stream(self.gear.port),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m, gear = Module(), self.gear
        job = Job(m, self.command, self.busy)
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=gear.port, depth=2 * PERIOD)
        left, more = Signal(32), Signal()  # words to come; any of them
        chunk = Signal(max(gear.port, gear.word), reset_less=True)
        fill, beats = Signal(range(max(2, gear.words))), Signal(range(gear.beats + 1))
        exps = Signal(gear.port, reset_less=True)
        slot = Signal(range(gear.slots))
        held, held_beats = Signal(gear.port, reset_less=True), Signal(range(PERIOD + 1))

        take, push, last = Signal(), Signal(), Signal()
        grouped = Signal(range(PERIOD))  # beats since the last group
        m.d.comb += [
            last.eq((grouped == PERIOD - 1) | ((beats == 1) & ~more & (fill == 0))),
            push.eq((beats != 0) & queue.w_rdy & ~(last & (held_beats != 0))),
            self.i.ready.eq(job.active & more & ((beats == 0) | ((beats == 1) & push))),
            take.eq(self.i.valid & self.i.ready),
            queue.w_en.eq(push),
            queue.w_data.eq(chunk[: gear.port]),
        ]
        with m.If(push):
            m.d.sync += [beats.eq(beats - 1), chunk.eq(chunk >> gear.port), grouped.eq(grouped + 1)]
            with m.If(last):
                m.d.sync += [grouped.eq(0), held.eq(exps), held_beats.eq(grouped + 1)]
        with m.If(take):
            self._store(m, chunk, fill, self.i.payload.q, gear.word)
            self._store(
                m,
                exps,
                slot[exact_log2(gear.shared) :],
                Cat(Cat(e, C(0, 3)) for e in self.i.payload.exp),
                8 * gear.exps,
            )
            m.d.sync += [
                left.eq(left - 1), more.eq(left != 1), slot.eq(slot + 1), fill.eq(fill + 1)
            ]  # fmt: skip
            with m.If((fill == gear.words - 1) | (left == 1)):
                m.d.sync += [fill.eq(0), beats.eq(gear.beats)]
        with m.If(job.start):
            words = self.command.payload.words
            m.d.sync += [left.eq(words), more.eq(words != 0), slot.eq(0)]

        sending = Signal(range(PERIOD + 1))  # beats of elements that follow
        sent = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.valid.eq(Mux(sending == 0, held_beats != 0, queue.r_rdy)),
            self.o.payload.eq(Mux(sending == 0, held, queue.r_data)),
            queue.r_en.eq((sending != 0) & self.o.ready),
        ]
        with m.If(sent):
            m.d.sync += sending.eq(sending - 1)
            with m.If(sending == 0):
                m.d.sync += [sending.eq(held_beats), held_beats.eq(0)]
        unsent = (held_beats != 0) | (sending != 0)
        job.end(~more & (beats == 0))  # the next head's words may come
        m.d.comb += self.busy.eq(job.active | self.command.valid | unsent)
        return m

    @staticmethod
    def _store(m: Module, target: Signal, place: Value, value: Value, bits: int) -> None:
        """Put ``value`` at its place; the first one clears the others."""
        value = Value.cast(value)
        for n in range(len(target) // bits):
            field = target[n * bits : (n + 1) * bits]
            with m.If(place == n):
                m.d.sync += field.eq(value)
            with m.Elif(place == 0):
                m.d.sync += field.eq(0)
