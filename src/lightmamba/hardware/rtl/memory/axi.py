"""AXI4: signatures of the masters and of the host port, and how beats in a row become bursts."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from lightmamba.arch.contract import PAGE, WORD_BITS
from lightmamba.arch.ports import ADDRESS_BITS, ID_BITS, gear
from lightmamba.hardware.rtl.layouts import i_stream, o_stream

__all__ = [
    "BURST", "COUNT_BITS", "READ", "WRITE", "Bursts", "beats_of", "lite_slave", "master",
]  # fmt: skip

LONGEST = 256  # beats that a burst of AXI4 can have
INCREMENTING = 1  # the only type of burst used
COUNT_BITS = 32
LITE_BITS = 12  # address bits of the host port
WRITE = data.StructLayout({"address": unsigned(ADDRESS_BITS), "count": unsigned(COUNT_BITS)})
READ = data.StructLayout(
    {"address": unsigned(ADDRESS_BITS), "count": unsigned(COUNT_BITS), "zero": unsigned(1)}
)
BURST = data.StructLayout(
    {
        "address": unsigned(ADDRESS_BITS),
        "beats": unsigned(LONGEST.bit_length()),
        "zero": unsigned(1),
        "last": unsigned(1),
    }
)


def _address(channel: str) -> dict[str, wiring.Member]:
    return {
        f"{channel}addr": Out(ADDRESS_BITS),
        f"{channel}len": Out(8),
        f"{channel}size": Out(3),
        f"{channel}burst": Out(2),
        f"{channel}id": Out(ID_BITS),
        f"{channel}valid": Out(1),
        f"{channel}ready": In(1),
    }


def master(bits: int, *, read: bool = True, write: bool = True) -> wiring.Signature:
    """AXI4 as its master sees it, ``bits`` of data wide; either side can be left out."""
    members: dict[str, wiring.Member] = {}
    if read:
        members |= _address("ar") | {
            "rdata": In(bits),
            "rresp": In(2),
            "rlast": In(1),
            "rid": In(ID_BITS),
            "rvalid": In(1),
            "rready": Out(1),
        }
    if write:
        members |= _address("aw") | {
            "wdata": Out(bits),
            "wstrb": Out(bits // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bid": In(ID_BITS),
            "bvalid": In(1),
            "bready": Out(1),
        }
    return wiring.Signature(members)


def lite_slave() -> wiring.Signature:
    """AXI4-Lite of 32 bits; a slave has ``In`` of it, so directions are the master's."""
    return wiring.Signature(
        {
            "awaddr": Out(LITE_BITS),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(LITE_BITS),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def beats_of(words: Value, port_bits: int) -> Value:
    """Beats of a port that words of 64 bits fill, the last one not always wholly."""
    beats, each = gear(WORD_BITS, port_bits)
    if beats > 1:
        return words << exact_log2(beats)
    return (words + (each - 1)) >> exact_log2(each)


class Bursts(wiring.Component):
    """Cut a range of beats into bursts that stay within a page of 4 KiB.

    One burst per cycle; a command costs two cycles more, and ``latency`` cycles lie between its
    transfer and its first burst. A command of no beats makes no burst. Beats of a ``zero`` command
    come as bursts of one.

    Parameters
    ----------
    port_bits : int
        Bits of a beat.
    burst_beats : int
        Beats of a whole burst; less where a page holds fewer.

    Members
    -------
    command : In(stream of READ)
        Address (a multiple of a beat) and count of beats.
    o : Out(stream of BURST)
        ``last`` marks the last burst of a command.
    flush : In
        While 1, what is here is dropped and commands are taken and dropped.
    busy : Out
        A command is under way.
    """

    latency, interval = 3, 1

    def __init__(self, port_bits: int, burst_beats: int) -> None:
        if not 1 <= burst_beats <= LONGEST:
            raise ValueError(f"burst_beats must be in 1..{LONGEST}, not {burst_beats}")
        self.size = exact_log2(port_bits // 8)
        self.page_beats = PAGE >> self.size
        self.burst_beats = min(burst_beats, self.page_beats)
        super().__init__(
            {
                "command": i_stream(READ),
                "o": o_stream(BURST),
                "flush": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        command, burst = self.command.payload, self.o.payload
        active, begun, zero = Signal(), Signal(), Signal(reset_less=True)
        address = Signal(ADDRESS_BITS, reset_less=True)
        left = Signal(COUNT_BITS, reset_less=True)
        # Beats to the end of the page, and what a burst from here may have at most: they do not
        # depend on `left`, so the next ones are known before it is.
        room = Signal(range(self.page_beats + 1), reset_less=True)
        most = Signal(range(self.burst_beats + 1), reset_less=True)
        whole, next_room, next_most = self.burst_beats, Signal.like(room), Signal.like(most)
        last, step = Signal(), Signal()
        place = address[self.size : PAGE.bit_length() - 1]
        first, after = self.page_beats - place, room - whole
        with m.If(begun):
            m.d.comb += [
                next_room.eq(Mux(room <= whole, self.page_beats, after)),
                next_most.eq(Mux((room > whole) & (room < 2 * whole), after, whole)),
            ]
        with m.Else():
            m.d.comb += [next_room.eq(first), next_most.eq(Mux(first < whole, first, whole))]

        m.d.comb += [
            self.command.ready.eq(~active | self.flush),
            self.busy.eq(active | self.o.valid),
            last.eq(left <= most),
            step.eq(begun & (~self.o.valid | self.o.ready)),
        ]
        with m.If(~begun | step):
            m.d.sync += [room.eq(next_room), most.eq(Mux(zero, 1, next_most))]
        with m.If(~active):
            m.d.sync += [
                active.eq(self.command.valid),
                address.eq(command.address),
                left.eq(command.count),
                zero.eq(command.zero),
            ]
        with m.Elif(~begun):
            m.d.sync += [active.eq(left.any()), begun.eq(left.any())]
        with m.If(step):
            m.d.sync += [
                self.o.valid.eq(1),
                active.eq(~last),
                begun.eq(~last),
                left.eq(left - most),
                address.eq(address + (most << self.size)),
                burst.address.eq(address),
                burst.beats.eq(Mux(last, left, most)),
                burst.zero.eq(zero),
                burst.last.eq(last),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.flush):
            m.d.sync += [active.eq(0), begun.eq(0), self.o.valid.eq(0)]
        return m
