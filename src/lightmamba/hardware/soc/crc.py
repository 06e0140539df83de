"""CRC-32 of a stream of bytes, a bit per cycle: a character takes far longer on a serial line."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RESIDUE", "Crc32"]

POLYNOMIAL = 0xEDB88320  # of CRC-32/ISO-HDLC, reflected
RESIDUE = 0xDEBB20E3  # of any message with its CRC after it, before the final inversion


class Crc32(wiring.Component):
    """CRC-32/ISO-HDLC, the one of :func:`zlib.crc32`, before its final inversion.

    ``interval`` cycles from one byte to the next; ``value`` is right ``latency`` cycles after
    ``load``.

    Members
    -------
    clear : In
        Begin a message.
    load : In
        Take ``data``; not while ``busy``.
    data : In
    plain : In
        With ``load``: shift the lowest byte out of ``value`` instead.
    value : Out
    busy : Out
    """

    latency, interval = 9, 9

    def __init__(self) -> None:
        super().__init__({
            "clear": In(1), "load": In(1), "data": In(8), "plain": In(1), "value": Out(32),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift, left, some, plain = Signal(8), Signal(range(8)), Signal(), Signal()
        m.d.comb += self.busy.eq(some)
        feedback = ~plain & (self.value[0] ^ shift[0])
        with m.If(self.clear):
            m.d.sync += self.value.eq(0xFFFFFFFF)
        with m.Elif(some):
            m.d.sync += self.value.eq(self.value[1:] ^ Mux(feedback, POLYNOMIAL, 0))
        with m.If(self.load):
            m.d.sync += [
                shift.eq(self.data), left.eq(7), some.eq(1), plain.eq(self.plain),
            ]  # fmt: skip
        with m.Elif(some):
            m.d.sync += [shift.eq(Cat(shift[1:], 0)), left.eq(left - 1), some.eq(left != 0)]
        return m
