"""The half of the SDRAM controller that speaks AXI, in the clock domain ``sync``."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from lightmamba.arch.ports import ID_BITS
from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.memory.axi import master
from lightmamba.hardware.soc.sdram_layouts import ADDRESS_BITS, SdramShape

__all__ = ["SdramChunks", "SdramPort"]

OUTSTANDING = 16  # chunks read
RESPONSES = 4  # of writes, which their master does not take


class SdramChunks(wiring.Component):
    """Cut bursts into chunks, which never cross a border of 128 bytes.

    One chunk per cycle, and a burst costs one cycle more; ``latency`` cycles from a burst to its
    first chunk.

    Parameters
    ----------
    shape : SdramShape

    Members
    -------
    i : In(stream of {address, more, id})
        Address of a byte, of which the beat that holds it is taken; beats ``more`` than one.
    o : Out(stream of {place, more, last, id})
        ``last`` marks the last chunk of a burst.
    """

    latency, interval = 2, 1

    def __init__(self, shape: SdramShape) -> None:
        self.shape = shape
        burst = {"address": unsigned(ADDRESS_BITS), "more": unsigned(8), "id": unsigned(ID_BITS)}
        chunk = {"place": shape.place, "more": unsigned(exact_log2(shape.beats)),
                 "last": unsigned(1), "id": unsigned(ID_BITS)}  # fmt: skip
        super().__init__(
            {"i": i_stream(data.StructLayout(burst)), "o": o_stream(data.StructLayout(chunk))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, o, size = self.i.payload, self.o.payload, exact_log2(self.shape.bits // 8)
        offset = exact_log2(self.shape.beats)
        active, last = Signal(), Signal()
        place, name = Signal(self.shape.place.size), Signal(ID_BITS)
        more, room = Signal(8), ~place[:offset]  # beats after the first: of the burst, of the chunk
        m.d.comb += [self.i.ready.eq(~active), last.eq(more <= room)]
        with m.If(~active):
            m.d.sync += [
                active.eq(self.i.valid),
                place.eq(i.address >> size),
                more.eq(i.more),
                name.eq(i.id),
            ]
        with m.Elif(~self.o.valid | self.o.ready):
            m.d.sync += [
                active.eq(~last),
                place[:offset].eq(0),
                place[offset:].eq(place[offset:] + 1),
                more.eq(more - room - 1),
            ]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(active),
                o.place.eq(place),
                o.more.eq(Mux(last, more[:offset], room)),
                o.last.eq(last),
                o.id.eq(name),
            ]
        return m


class SdramPort(wiring.Component):
    """An AXI4 slave that gives chunks of bursts to the scheduler, in an order that AXI allows.

    Reads are in order among themselves, and so are writes; where both wait, they take turns, chunk
    by chunk. So a chunk waits for one of the other kind and for the chunks ahead of it in the
    queue. A chunk to read is given when there is room for its data, and one to write when its data
    are here: neither ever stops the chip.

    A chunk every other cycle, a beat every cycle. ``latency`` cycles lie between the transfer of a
    read address and its first chunk; as many between that of a write address, if its data are
    here, and its chunk; three from a chunk's last data to the chunk. A response is there together
    with the burst's last chunk, or later; reads that are asked for after it follow that chunk.
    Data read are passed on in the same cycle.

    Parameters
    ----------
    shape : SdramShape
    room : int
        Beats of the queue through which data come back.
    depth : int
        Beats of the queue that ``write`` leads to, at least a chunk.

    Members
    -------
    axi : In(AXI4 master)
        INCR bursts of whole beats: size and type are not looked at, and an address is taken down to
        its beat. Address bits from 2**25 on are ignored, so the memory is there again and again.
        Responses are OKAY.
    command : Out(stream of SdramShape.command)
    write : Out(stream of SdramShape.beat)
    read : In(stream of unsigned(bits))
    """

    latency = 4

    def __init__(self, shape: SdramShape, room: int, depth: int) -> None:
        self.shape, self.room, self.depth = shape, room, depth
        super().__init__(
            {
                "axi": In(master(shape.bits)),
                "command": o_stream(shape.command),
                "write": o_stream(shape.beat),
                "read": i_stream(unsigned(shape.bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, shape, command = self.axi, self.shape, self.command
        chunks = []
        for way in ("ar", "aw"):
            m.submodules[way] = cut = SdramChunks(shape)
            ready = getattr(axi, f"{way}ready")
            m.d.comb += [
                cut.i.valid.eq(getattr(axi, f"{way}valid")),
                cut.i.payload.address.eq(getattr(axi, f"{way}addr")),
                cut.i.payload.more.eq(getattr(axi, f"{way}len")),
                cut.i.payload.id.eq(getattr(axi, f"{way}id")),
                ready.eq(cut.i.ready),
            ]
            chunks.append(cut.o)
        reads, writes = chunks
        r, w = reads.payload, writes.payload

        # One chunk at a time. What may go is known a cycle later, when the command is out.
        may_read, may_write, read_next = Signal(), Signal(), Signal()
        m.d.comb += [
            reads.ready.eq(~command.valid & may_read & (~may_write | read_next)),
            writes.ready.eq(~command.valid & may_write & ~(may_read & read_next)),
        ]
        gives_read, gives_write = reads.ready & reads.valid, writes.ready & writes.valid
        with m.If(command.ready):
            m.d.sync += command.valid.eq(0)
        with m.If(~command.valid):
            m.d.sync += [
                command.valid.eq(may_read | may_write),
                read_next.eq(Mux(may_read | may_write, writes.ready, read_next)),
                command.payload.write.eq(writes.ready),
                command.payload.place.eq(Mux(writes.ready, w.place, r.place)),
                command.payload.more.eq(Mux(writes.ready, w.more, r.more)),
            ]

        # Reads: room for the data, and what is to be said of them.
        tag = data.StructLayout({"id": ID_BITS, "more": len(r.more), "last": 1})
        m.submodules.tags = tags = fifo.SyncFIFOBuffered(width=tag.size, depth=OUTSTANDING)
        room, beat = Signal(range(self.room + 1), init=self.room), Signal(len(r.more))
        of_read = tag(tags.r_data)
        taken, whole = axi.rvalid & axi.rready, beat == of_read.more
        m.d.comb += [
            tags.w_en.eq(gives_read),
            tags.w_data.eq(Cat(r.id, r.more, r.last)),
            axi.rvalid.eq(self.read.valid & tags.r_rdy),
            self.read.ready.eq(axi.rready & tags.r_rdy),
            axi.rdata.eq(self.read.payload),
            axi.rid.eq(of_read.id),
            axi.rlast.eq(of_read.last & whole),
            tags.r_en.eq(taken & whole),
        ]
        m.d.sync += [
            room.eq(room + taken - Mux(gives_read, r.more + 1, 0)),
            may_read.eq(reads.valid & (room >= shape.beats) & tags.w_rdy & ~gives_read),
        ]
        with m.If(taken):
            m.d.sync += beat.eq(Mux(whole, 0, beat + 1))

        # Writes: beats that no chunk has claimed, and the ids of the responses.
        m.submodules.responses = responses = fifo.SyncFIFO(width=ID_BITS, depth=RESPONSES)
        stored = Signal(range(self.depth + 3))  # two more lie at the queue's output
        m.d.comb += [
            self.write.valid.eq(axi.wvalid),
            self.write.payload.data.eq(axi.wdata),
            self.write.payload.strobe.eq(axi.wstrb),
            axi.wready.eq(self.write.ready),
            responses.w_en.eq(gives_write & w.last),
            responses.w_data.eq(w.id),
            axi.bvalid.eq(responses.r_rdy),
            axi.bid.eq(responses.r_data),
            responses.r_en.eq(axi.bready),
        ]
        m.d.sync += [
            stored.eq(stored + (axi.wvalid & axi.wready) - Mux(gives_write, w.more + 1, 0)),
            may_write.eq(
                writes.valid & (stored > w.more) & responses.w_rdy & ~gives_write
            ),
        ]  # fmt: skip
        return m
