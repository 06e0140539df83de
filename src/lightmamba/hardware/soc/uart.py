"""UART, 8N1: transmitter, receiver, and the tick that both rates come from.

Rates are fractions of the clock, made by phase accumulators: the clock need not be a multiple of
the baud rate. A bit takes four cycles of the clock at least.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.machine.serial import RATE_BITS
from lightmamba.hardware.rtl.layouts import i_stream

__all__ = ["BaudClock", "UartReceiver", "UartTransmitter"]

BITS = 10  # of a character: start, eight of data, stop


class BaudClock(wiring.Component):
    """A pulse per bit time, on average; single ones come up to one cycle late.

    Members
    -------
    rate : In
        Baud rate in units of the clock over 2**:data:`RATE_BITS`.
    tick : Out
    """

    def __init__(self) -> None:
        super().__init__({
            "rate": In(RATE_BITS), "tick": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phase = Signal(RATE_BITS)
        m.d.sync += Cat(phase, self.tick).eq(phase + self.rate)
        return m


class UartTransmitter(wiring.Component):
    """Send characters.

    A character begins with the first tick after its transfer and takes ten; without a gap where the
    next one is given within a bit time. So ``interval`` and ``latency`` are in ticks.

    Members
    -------
    tick : In
        Of a :class:`BaudClock`.
    i : In(stream of 8 bits)
    tx : Out
    busy : Out
        1 until the last stop bit has its full length.
    """

    latency, interval = 1, BITS

    def __init__(self) -> None:
        super().__init__({"tick": In(1), "i": i_stream(8), "tx": Out(1, init=1), "busy": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift, left, some, last = Signal(BITS - 1), Signal(range(BITS + 1)), Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~some), self.busy.eq(some | last)]
        with m.If(self.tick):
            m.d.sync += last.eq(some)
        with m.If(~some), m.If(self.i.valid):
            # The start bit comes first; the stop bit is what is shifted in.
            m.d.sync += [shift.eq(Cat(0, self.i.payload)), left.eq(BITS), some.eq(1)]
        with m.Elif(self.tick):
            m.d.sync += [
                self.tx.eq(shift[0]),
                shift.eq(Cat(shift[1:], 1)),
                left.eq(left - 1),
                some.eq(left != 1),
            ]
        return m


class UartReceiver(wiring.Component):
    """Receive characters, each in the middle of its bits.

    Two flip-flops bring the line to the clock, and the majority of its last three samples counts,
    so a glitch of one cycle does nothing. Every start bit restarts the phase. A character
    is complete in the middle of its stop bit: with 16 cycles and more to a bit, the rate of the
    other side may differ by 4 %, with four cycles by 2 % (measured in the tests).

    Members
    -------
    rx : In
        The line, in no clock domain.
    rate : In
        As of :class:`BaudClock`.
    valid : Out
        Pulse: a character has come. It is not held.
    data : Out
    error : Out
        With ``valid``: the stop bit was 0.
    line_break : Out
        With ``valid``: and all data too.
    """

    latency = 4  # cycles from the middle of the stop bit on the line to the pulse, or one more

    def __init__(self) -> None:
        super().__init__({
            "rx": In(1, init=1), "rate": In(RATE_BITS), "valid": Out(1), "data": Out(8),
            "error": Out(1), "line_break": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        samples, level = Signal(4, init=0b1111), Signal(init=1)
        a, b, c = samples[1], samples[2], samples[3]
        m.d.sync += [
            samples.eq(Cat(self.rx, samples[:-1])),
            level.eq((a & b) | (a & c) | (b & c)),
        ]
        active, high = Signal(), Signal(init=1)  # within a character; the line was 1 since
        phase, middle = Signal(RATE_BITS), Signal()
        left = Signal(range(BITS))
        step = phase + self.rate
        m.d.comb += middle.eq(active & step[RATE_BITS])
        m.d.sync += [
            self.valid.eq(0),
            phase.eq(Mux(active, step[:RATE_BITS], 1 << RATE_BITS - 1)),
        ]
        with m.If(~active):
            m.d.sync += [high.eq(high | level), active.eq(high & ~level), left.eq(BITS - 1)]
        with m.Elif(middle):
            m.d.sync += left.eq(left - 1)
            with m.If((left == BITS - 1) & level):
                m.d.sync += active.eq(0)  # no start bit, but a short pulse
            with m.If(left == 0):
                m.d.sync += [
                    active.eq(0),
                    high.eq(level),
                    self.valid.eq(1),
                    self.error.eq(~level),
                    self.line_break.eq(~level & (self.data == 0)),
                ]
            with m.Else():
                m.d.sync += self.data.eq(Cat(self.data[1:], level))
        return m
