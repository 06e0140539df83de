"""Two AXI4 masters on one memory: the accelerator, and the bridge to the host."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.ports import ID_BITS
from lightmamba.hardware.rtl.memory.axi import master

__all__ = ["MemoryShare"]

OPEN = 8  # bursts to write whose data are not all out
ADDRESS = ("addr", "len", "size", "burst")  # fields that go through as they are


class MemoryShare(wiring.Component):
    """Two masters in turns, address by address.

    A master that waits for an address to be taken waits for one of the other at most. Addresses
    take one cycle (``latency``), data and answers none; one address per cycle, one beat per cycle
    each way. Data to write go out in the order of their addresses.

    Parameters
    ----------
    bits : int
        Of AXI data.

    Members
    -------
    first, second : In(AXI4 master)
        Their ids have one bit less than those of ``o``: see
        :func:`~lightmamba.hardware.machine.ports.ports`.
    o : Out(AXI4 master)
        The id's top bit says whose it is.
    """

    latency, interval = 1, 1

    first: Any
    second: Any
    o: Any

    def __init__(self, bits: int) -> None:
        super().__init__(
            {"first": In(master(bits)), "second": In(master(bits)), "o": Out(master(bits))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        both, o = (self.first, self.second), self.o
        m.submodules.order = order = fifo.SyncFIFO(width=1, depth=OPEN)
        self._addresses(m, "ar", True)
        asked, whose = self._addresses(m, "aw", order.w_rdy)
        m.d.comb += [order.w_en.eq(asked), order.w_data.eq(whose)]

        of_read, of_write = o.rid[-1], o.bid[-1]
        m.d.comb += [
            o.rready.eq(Mux(of_read, both[1].rready, both[0].rready)),
            o.bready.eq(Mux(of_write, both[1].bready, both[0].bready)),
        ]
        writes = order.r_data
        m.d.comb += [
            o.wvalid.eq(order.r_rdy & Mux(writes, both[1].wvalid, both[0].wvalid)),
            order.r_en.eq(o.wvalid & o.wready & o.wlast),
            *(getattr(o, f"w{name}").eq(
                Mux(writes, *(getattr(one, f"w{name}") for one in reversed(both)))
            ) for name in ("data", "strb", "last")),
        ]  # fmt: skip
        for n, one in enumerate(both):
            m.d.comb += [
                one.wready.eq(order.r_rdy & o.wready & (writes == n)),
                one.rvalid.eq(o.rvalid & (of_read == n)),
                one.bvalid.eq(o.bvalid & (of_write == n)),
                one.rid.eq(o.rid[:-1]),
                one.bid.eq(o.bid[:-1]),
                *(getattr(one, name).eq(getattr(o, name))
                  for name in ("rdata", "rresp", "rlast", "bresp")),
            ]  # fmt: skip
        return m

    def _addresses(self, m: Module, side: str, room: Value | bool) -> tuple[Value, Value]:
        """Pass addresses on; whether one is taken in this cycle, and whose it is."""

        def of(interface: Any, name: str) -> Any:
            return getattr(interface, side + name)

        both, o = (self.first, self.second), self.o
        choice, taken, free = Signal(), Signal(), Signal()
        mine = Mux(choice, *(of(one, "valid") for one in reversed(both)))
        other = Mux(choice, *(of(one, "valid") for one in both))
        m.d.comb += [
            free.eq(room & (~of(o, "valid") | of(o, "ready"))),
            taken.eq(free & mine),
            *(of(one, "ready").eq(free & (choice == n)) for n, one in enumerate(both)),
        ]
        with m.If(other & (taken | ~mine)):
            m.d.sync += choice.eq(~choice)
        with m.If(taken):
            m.d.sync += [
                of(o, "valid").eq(1),
                of(o, "id").eq(
                    Cat(Mux(choice, *(of(one, "id")[: ID_BITS - 1] for one in reversed(both))),
                        choice)
                ),
                *(of(o, name).eq(Mux(choice, *(of(one, name) for one in reversed(both))))
                  for name in ADDRESS),
            ]  # fmt: skip
        with m.Elif(of(o, "ready")):
            m.d.sync += of(o, "valid").eq(0)
        return taken, choice
