"""Arbiters: several readers or writers on one memory port, distinguished by id."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.ports import ID_BITS
from lightmamba.hardware.rtl.memory.axi import INCREMENTING, master

__all__ = ["ReadArbiter", "WriteArbiter"]

AHEAD = 4  # write bursts whose address went on before their data
FIELDS = ("addr", "len", "size")  # of an address, taken over from the client


class ReadArbiter(wiring.Component):
    """Give ``n`` readers one read port; a client's index is its id.

    Clients take turns, burst by burst. One address per cycle; one client has every other cycle at
    most. An address is taken in the cycle after it is offered, or later. Data go to the client that
    their id names, in any order of clients; all are always ready. Responses and last beats are not
    handed on: they are watched at the port. Addresses and data are registered: ``latency`` cycles
    from a transfer on one side to the other side.

    Parameters
    ----------
    bits : int
        Of data.
    n : int
        Clients, 1 to 64.

    Members
    -------
    i0, i1, ... : In(AXI4 read master)
    o : Out(AXI4 read master)
    """

    latency, interval = 1, 1

    def __init__(self, bits: int, n: int) -> None:
        _check(n)
        self.bits, self.n = bits, n
        signature = master(bits, write=False)
        super().__init__({f"i{k}": In(signature) for k in range(n)} | {"o": Out(signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        o, clients = self.o, [getattr(self, f"i{k}") for k in range(self.n)]
        _take_turns(m, "ar", clients, o, Value.cast(1))

        data = Signal(self.bits, reset_less=True)
        m.d.comb += o.rready.eq(1)
        m.d.sync += data.eq(o.rdata)
        for k, client in enumerate(clients):
            m.d.sync += client.rvalid.eq(o.rvalid & (o.rid == k))
            m.d.comb += client.rdata.eq(data)
        return m


class WriteArbiter(wiring.Component):
    """Give ``n`` writers one write port; a client's index is its id.

    Clients take turns, burst by burst; data follow in the order of the addresses, whole bursts.
    One beat per cycle across bursts. Addresses and responses are registered (``latency``); data
    pass in the same cycle, from ``data_latency`` cycles after their address was taken, or later.
    Whether a response is an error is not handed on, but watched at the port.

    Parameters
    ----------
    bits : int
        Of data.
    n : int
        Clients, 1 to 64.

    Members
    -------
    i0, i1, ... : In(AXI4 write master)
    o : Out(AXI4 write master)
    """

    latency, data_latency, interval = 1, 2, 1

    def __init__(self, bits: int, n: int) -> None:
        _check(n)
        self.bits, self.n = bits, n
        signature = master(bits, read=False)
        super().__init__({f"i{k}": In(signature) for k in range(n)} | {"o": Out(signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        o, clients = self.o, [getattr(self, f"i{k}") for k in range(self.n)]
        m.submodules.order = order = fifo.SyncFIFO(width=self.n, depth=AHEAD)
        taken = _take_turns(m, "aw", clients, o, order.w_rdy)
        m.d.comb += [order.w_en.eq(taken.any()), order.w_data.eq(taken)]

        grant = Signal(self.n)  # whose burst of data passes, one bit
        finished = Signal()
        m.d.comb += [
            o.wvalid.eq(_of(grant, [c.wvalid for c in clients])),
            o.wdata.eq(_of(grant, [c.wdata for c in clients])),
            o.wstrb.eq(_of(grant, [c.wstrb for c in clients])),
            o.wlast.eq(_of(grant, [c.wlast for c in clients])),
            finished.eq(~grant.any() | (o.wvalid & o.wready & o.wlast)),
            order.r_en.eq(finished),
        ]
        with m.If(finished):
            m.d.sync += grant.eq(Mux(order.r_rdy, order.r_data, 0))

        m.d.comb += o.bready.eq(1)
        for k, client in enumerate(clients):
            m.d.sync += client.bvalid.eq(o.bvalid & (o.bid == k))
            m.d.comb += client.wready.eq(grant[k] & o.wready)
        return m


def _check(n: int) -> None:
    if not 1 <= n <= 1 << ID_BITS:
        raise ValueError(f"n must be in 1..{1 << ID_BITS} clients, not {n}")


def _of(choice: Value, values: list[Value]) -> Value:
    """The value that a one-hot choice picks, else 0; a balanced tree."""
    terms = [Mux(choice[k], value, 0) for k, value in enumerate(values)]
    while len(terms) > 1:
        pairs = [terms[k : k + 2] for k in range(0, len(terms), 2)]
        terms = [p[0] | p[1] if len(p) == 2 else p[0] for p in pairs]
    return terms[0]


def _take_turns(m: Module, channel: str, clients: list[Any], o: Any, room: Value) -> Value:
    """Pass addresses on, in turns; whose is taken in this cycle, one-hot.

    The next choice is the first request after the last one taken, or else the first of all.
    """

    def of(interface: Any, name: str) -> Any:
        return getattr(interface, channel + name)

    n = len(clients)
    choice, taken, passed = Signal(n), Signal(n), Signal()
    later, after = Signal(n), Signal(n)  # clients after the last choice, a cycle late and now
    requests, behind = Signal(n), Signal(n)
    m.d.comb += [
        taken.eq(Mux(room & (~of(o, "valid") | of(o, "ready")), choice, 0)),
        passed.eq(taken.any()),
        after.eq(Mux(choice.any(), Cat(choice[:k].any() for k in range(n)), later)),
        requests.eq(Cat(of(client, "valid") for client in clients) & ~choice),
        behind.eq(requests & after),
        of(o, "burst").eq(INCREMENTING),
    ]
    m.d.sync += later.eq(after)
    with m.If(passed | ~choice.any()):
        m.d.sync += choice.eq(Mux(behind.any(), behind & -behind, requests & -requests))
    m.d.comb += [of(client, "ready").eq(taken[k]) for k, client in enumerate(clients)]
    with m.If(passed):
        m.d.sync += of(o, "valid").eq(1)
        m.d.sync += [of(o, f).eq(_of(choice, [of(c, f) for c in clients])) for f in FIELDS]
        m.d.sync += of(o, "id").eq(_of(choice, [Value.cast(k) for k in range(n)]))
    with m.Elif(of(o, "ready")):
        m.d.sync += of(o, "valid").eq(0)
    return taken
