"""Memory that grows with its sequences, spread over the channels of the lanes."""

from amaranth.hdl import Module, Mux, Signal

from lightmamba.arch.clients import SPREAD
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.ports import clients
from lightmamba.hardware.rtl.memory.parts import Parts, positions_of
from lightmamba.hardware.rtl.memory.spread_reads import SpreadReads
from lightmamba.hardware.rtl.memory.spread_walk import POSITION_BITS
from lightmamba.hardware.rtl.memory.spread_writes import SpreadWrites
from lightmamba.hardware.rtl.passes import slots_of
from lightmamba.hardware.rtl.streams import join

__all__ = ["wire_spread"]


def wire_spread(m: Module, parts: Parts) -> None:
    """Read what the sequences of a pass have, and write what it adds."""
    for client in clients(parts.config, SPREAD):
        _client(m, parts, client.name)


def _client(m: Module, parts: Parts, name: str) -> None:
    host, config, graph = parts.host, parts.config, machine(parts.config.kinds)
    reader, writer = parts.row_readers[name], parts.row_writers[name]
    m.submodules[f"reads_{name}"] = reads = SpreadReads(config)
    m.submodules[f"writes_{name}"] = writes = SpreadWrites(config)
    slots, seen = slots_of(host), positions_of(m, parts, name, POSITION_BITS)
    for part in (reads, writes):
        m.d.comb += [
            part.run.eq(parts.run),
            part.table_write.eq(getattr(host, f"{name}_segment_data_write")),
            part.table_index.eq(getattr(host, f"{name}_segment_index")),
            part.table_data.eq(getattr(host, f"{name}_segment_data")),
            part.start.eq(parts.sequencer.state),
            *(
                getattr(part, what).eq(getattr(host, f"{name}_{what}"))
                for what in ("layers", "runs", "words", "stride")
            ),
        ]
        for n, slot in enumerate(slots):
            m.d.comb += [
                part.used[n].eq(slot.used),
                part.positions[n].eq(seen[n]),
            ]
    for n in range(config.tokens):
        m.d.comb += writes.more[n].eq(getattr(host, f"slot_{name}_more")[n])
    for n in range(config.row_lanes):
        base = getattr(host, f"{name}_base")[n]
        m.d.comb += [reader.base[n].eq(base), writer.base[n].eq(base)]
    m.d.comb += reads.written.eq(writer.done)
    join(m, reads.o, reader.command)
    join(m, writes.o, writer.i)
    given, taken = (parts.units.port(end) for end in graph.ends(name))
    join(m, reader.o, given)
    join(m, taken, writes.i)

    # What a unit sees is of the pass that has begun; the next of a chain starts to read before.
    shown = parts.units.port(f"{graph.client(name).taker}.{name}_before")
    begun, latest, there = Signal(), Signal(POSITION_BITS), Signal(POSITION_BITS)
    m.d.sync += begun.eq(parts.sequencer.begin)
    with m.If(parts.sequencer.state):
        m.d.sync += latest.eq(seen[0])
    with m.If(begun):
        m.d.sync += there.eq(latest)
    for n, slot in enumerate(slots):
        m.d.comb += shown[n].eq(Mux(slot.used, there if n == 0 else seen[n], 0))
