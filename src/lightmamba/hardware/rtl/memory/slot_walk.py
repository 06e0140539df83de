"""Commands for the SSM state of a pass: head by head, of each slot in turn."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.latency import BEGIN, STATE_WALK
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.rtl import passes
from lightmamba.hardware.rtl.job import Countdown
from lightmamba.hardware.rtl.layouts import o_stream
from lightmamba.hardware.rtl.memory.axi import COUNT_BITS, READ, WRITE
from lightmamba.hardware.rtl.memory.prefetch import PENDING
from lightmamba.hardware.rtl.passes import slots_of
from lightmamba.hardware.rtl.pipe import select

__all__ = ["HEAD_BITS", "SlotWalk"]

HEAD_BITS = 20  # of the number of heads of all layers


class SlotWalk(wiring.Component):
    """Ask for the states of a pass's slots, and say where their new values go.

    Commands come for every head of every layer, in it for every slot; writes only of slots that
    store. Reads and writes come each in their own time. Where one slot is used, the next token of a
    chain reads a head only when the write of the same head by the last token has been answered:
    each read takes one of ``heads`` credits, each write gives one back. With several slots there
    are no chains, and nothing waits. ``latency`` cycles lie between a start and its first command,
    ``interval`` from one command of a stream to the next.

    Parameters
    ----------
    config : ArchConfig
        A pass may have T = ``tokens`` slots.

    Members
    -------
    run : In
        While 0, all credits are here and nothing new is asked for. It falls only between passes.
    begin : In
        Pulse: a pass starts from the host, with its first start or before it; all writes of before
        have been answered.
    start, fresh : In
        Pulse: a token may be read; with ``fresh``, the slots' own flags say whose state is zero,
        else nobody's is.
    slot : In(SLOT) * T
        Slots of the pass, where hardware has a choice. The one of a chain stores.
    base, other : In(u44) * T
        Address of a slot's first head in the copy that a pass reads, and in the one that it writes.
        Every start after the first since ``begin`` swaps the two. With one copy, both addresses are
        the same.
    heads : In(u32)
        Heads of all layers, below 2 ** 20.
    stride, count : In(u32)
        Bytes from one head to the next, over all layers; beats of a head. From ``slot`` on all is
        stable from ``begin`` to the last command.
    written : In
        Pulse: the write of a head has been answered.
    o : Out(stream of READ)
    o_write : Out(stream of WRITE)
    """

    latency, interval = BEGIN + STATE_WALK, 4

    def __init__(self, config: ArchConfig) -> None:
        self.tokens = tokens = config.tokens
        slot = {name: each for name, each in passes.members(config).items() if name == "slot"}
        super().__init__(
            slot
            | {
                "run": In(1),
                "begin": In(1),
                "start": In(1),
                "fresh": In(1),
                "base": In(ADDRESS_BITS).array(tokens),
                "other": In(ADDRESS_BITS).array(tokens),
                "heads": In(COUNT_BITS),
                "stride": In(COUNT_BITS),
                "count": In(COUNT_BITS),
                "written": In(1),
                "o": o_stream(READ),
                "o_write": o_stream(WRITE),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.reads = reads = _HeadWalk(self.tokens)
        m.submodules.writes = writes = _HeadWalk(self.tokens)
        slots = slots_of(self)
        used = Cat(slot.used for slot in slots)
        for walk, o in ((reads, self.o), (writes, self.o_write)):
            m.d.comb += [
                walk.run.eq(self.run),
                walk.begin.eq(self.begin),
                walk.start.eq(self.start),
                walk.fresh.eq(self.fresh),
                walk.heads.eq(self.heads),
                walk.stride.eq(self.stride),
                o.valid.eq(walk.o.valid),
                walk.o.ready.eq(o.ready),
                o.payload.address.eq(walk.o.payload.address),
                o.payload.count.eq(self.count),
            ]
        for n, slot in enumerate(slots):
            m.d.comb += [
                reads.base[n].eq(self.base[n]),
                reads.other[n].eq(self.other[n]),
                writes.base[n].eq(self.other[n]),
                writes.other[n].eq(self.base[n]),
                reads.wanted[n].eq(slot.used),
                reads.zero[n].eq(slot.fresh),
                writes.wanted[n].eq(slot.used & slot.store),
            ]
        alone = Signal()  # one slot is used
        credit = Signal(HEAD_BITS + 1)  # less one: its highest bit says that there is none
        took = Signal()  # the last cycle gave a command, the next one comes later than its count
        m.d.sync += [
            alone.eq(~_without_lowest(used).any()),
            took.eq(self.o.valid & self.o.ready),
        ]
        m.d.comb += [
            self.o.payload.zero.eq(reads.o.payload.zero),
            reads.allowed.eq(~alone | ~credit[-1]),
            writes.allowed.eq(1),
        ]
        with m.If(self.run & ~self.begin):
            m.d.sync += credit.eq(credit + self.written - took)
        with m.Else():
            m.d.sync += credit.eq(self.heads[:HEAD_BITS] - 1)
        return m


class _HeadWalk(wiring.Component):
    """One command per head and wanted slot for every start, each when ``allowed``.

    ``allowed`` never falls before a command. ``zero`` of a slot counts where ``fresh`` came with
    the start. Its address is the slot's plus what all have in common, the heads before.
    """

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        super().__init__(
            {
                "run": In(1),
                "begin": In(1),
                "start": In(1),
                "fresh": In(1),
                "wanted": In(tokens),
                "zero": In(tokens),
                "base": In(ADDRESS_BITS).array(tokens),
                "other": In(ADDRESS_BITS).array(tokens),
                "heads": In(COUNT_BITS),
                "stride": In(COUNT_BITS),
                "allowed": In(1),
                "o": o_stream(READ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pending = pending = fifo.SyncFIFO(width=1, depth=PENDING)
        fresh = Signal(reset_less=True)
        turn = Signal(init=1)  # the copy of the token under way; before the first, the last one
        heads = Countdown(COUNT_BITS)
        offset = Signal(ADDRESS_BITS, reset_less=True)
        left = Signal(self.tokens, reset_less=True)  # slots of this head whose command is to come
        index = Signal(range(max(2, self.tokens)), reset_less=True)
        chosen = Signal(ADDRESS_BITS, reset_less=True)
        bases = [Mux(turn, o, b) for b, o in zip(self.base, self.other, strict=True)]
        payload, idle, taken, drop = self.o.payload, Signal(), Signal(), Signal()
        m.d.comb += [
            pending.w_en.eq(self.start & self.run),
            pending.w_data.eq(self.fresh),
            pending.r_en.eq(idle | ~self.run),
            taken.eq(self.o.valid & self.o.ready),
            # What is offered stays so until it is taken; the rest is dropped.
            drop.eq(~self.run & (~self.o.valid | self.o.ready)),
        ]

        def then(state: str) -> None:
            m.next = state
            with m.If(drop):
                m.next = "IDLE"

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                m.d.sync += [fresh.eq(pending.r_data), left.eq(self.wanted), offset.eq(0)]
                m.d.sync += heads.load(self.heads)
                with m.If(pending.r_rdy & self.run):
                    m.d.sync += turn.eq(~turn)
                    with m.If(self.wanted.any() & self.heads.any()):
                        m.next = "PICK"
            with m.State("PICK"):
                m.d.sync += [index.eq(_lowest(left)), left.eq(_without_lowest(left))]
                then("CHOOSE")
            with m.State("CHOOSE"):
                m.d.sync += [
                    chosen.eq(select(m, index, bases)),
                    payload.zero.eq(fresh & self.zero.bit_select(index, 1)),
                ]
                then("ADD")
            with m.State("ADD"):
                m.d.sync += payload.address.eq(chosen + offset)
                then("OFFER")
            with m.State("OFFER"):
                m.d.comb += self.o.valid.eq(self.allowed)
                with m.If(taken):
                    m.next = "PICK"
                with m.If(taken & ~left.any()):
                    m.d.sync += [left.eq(self.wanted), offset.eq(offset + self.stride)]
                    m.d.sync += heads.step()
                with m.If(drop | (taken & ~left.any() & heads.last)):
                    m.next = "IDLE"
        with m.If(self.begin | ~self.run):
            m.d.sync += turn.eq(1)
        return m


def _lowest(bits: Value) -> Value:
    """Place of the lowest 1."""
    place: Value = C(0)
    for n in reversed(range(len(bits))):
        place = Mux(bits[n], n, place)
    return place


def _without_lowest(bits: Value) -> Value:
    """All but the lowest 1."""
    return bits & (bits - 1)[: len(bits)]
