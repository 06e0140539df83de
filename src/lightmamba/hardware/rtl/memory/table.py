"""Rows of a table in memory, at an index that is known only while a token runs."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.clients import TABLE
from lightmamba.arch.latency import TABLE_WALK
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.ports import chosen, clients
from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.memory.axi import COUNT_BITS, READ
from lightmamba.hardware.rtl.memory.parts import Parts
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed
from lightmamba.hardware.rtl.shifts import SPLIT
from lightmamba.hardware.rtl.streams import join

__all__ = ["TableWalk", "row_address", "wire_tables"]

DATAPATH = 3  # cycles of the address


def row_address(pipe: Pipe, base: Value, stride: Value, index: Value) -> Timed:
    """Base + stride·index in two parts, :data:`DATAPATH` cycles after the index.

    Base and stride stay as they are meanwhile.
    """
    low = pipe.step(lambda t: stride[:SPLIT] * t, pipe.input(index))
    high = pipe.step(lambda t: stride[SPLIT:] * t, pipe.input(index))
    below = pipe.step(lambda p: base[:SPLIT] + p[:SPLIT], low)
    above = pipe.step(lambda p, q: p[SPLIT:] + q, low, high, shape=ADDRESS_BITS - SPLIT)
    above = pipe.step(lambda v, b: base[SPLIT:ADDRESS_BITS] + v + b[SPLIT], above, below)
    return Timed(Cat(pipe.delay(below, above.stage).value[:SPLIT], above.value), above.stage)


class TableWalk(wiring.Component):
    """Ask for rows of a table, one for each index that a unit gives.

    ``latency`` cycles lie between an index and its command; one index per cycle.

    Parameters
    ----------
    bits : int
        Of an index.

    Members
    -------
    run : In
        While 0, no index is taken; commands of those before are still offered.
    base, stride : In(u44), In(u32)
        Address of row 0, and bytes from one row to the next. Stable while ``run`` is 1.
    count : In(u32)
        Words of a row.
    i : In(stream of unsigned(bits))
        Indices.
    o : Out(stream of READ)
    busy : Out
        A command is under way.
    """

    latency, interval = TABLE_WALK, 1

    run: Any
    base: Any
    stride: Any
    count: Any
    i: Any
    o: Any
    busy: Any

    def __init__(self, bits: int) -> None:
        super().__init__(
            {
                "run": In(1),
                "base": In(ADDRESS_BITS),
                "stride": In(COUNT_BITS),
                "count": In(COUNT_BITS),
                "i": i_stream(unsigned(bits)),
                "o": o_stream(READ),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, commands = Pipe(m), Queue(m, self.o, latency=DATAPATH)
        issue = self.i.valid & self.i.ready
        address = row_address(pipe, self.base, self.stride, self.i.payload)
        m.d.comb += [self.i.ready.eq(commands.room & self.run), self.busy.eq(commands.busy)]
        command = Cat(address.value[:ADDRESS_BITS], self.count, Const(0, 1))
        commands.connect(issue, pipe.valid(issue, address.stage), command)
        return m


def wire_tables(m: Module, parts: Parts) -> list[Value]:
    """Read tables at the indices of units; whether no command of each is under way."""
    host, graph, done = parts.host, machine(parts.config.kinds), list[Value]()
    for client in clients(parts.config, TABLE):
        if not (source := chosen(parts.config, client)):
            continue  # the embedding, whose index is the token's
        name, indices = client.name, parts.units.port(source)
        m.submodules[f"walk_{name}"] = walk = TableWalk(len(Value.cast(indices.payload)))
        m.d.comb += [
            walk.run.eq(parts.run),
            *(
                getattr(walk, to).eq(getattr(host, f"{name}_{what}"))
                for to, what in (("base", "base"), ("stride", "stride"), ("count", "words"))
            ),
        ]
        join(m, indices, walk.i)
        join(m, walk.o, parts.readers[name].command)
        join(m, parts.readers[name].o, parts.units.port(graph.client(name).target))
        done.append(~walk.busy)
    return done
