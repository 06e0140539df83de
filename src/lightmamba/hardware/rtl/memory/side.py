"""The side of the memory: what reads and writes, ahead of the units, and through which port."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from lightmamba.arch.clients import SPREAD, STATIC, WEIGHTS
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD_BITS
from lightmamba.arch.latency import STATE_READ_BURSTS, STATE_WRITE_BURSTS
from lightmamba.arch.ports import of_token
from lightmamba.hardware.machine.faults import sides
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.ports import (
    aux_readers,
    aux_writers,
    chosen,
    clients,
    ports,
    state_clients,
)
from lightmamba.hardware.rtl.counters import Counters
from lightmamba.hardware.rtl.memory.arbiter import ReadArbiter, WriteArbiter
from lightmamba.hardware.rtl.memory.axi import master as axi_master
from lightmamba.hardware.rtl.memory.parts import Parts
from lightmamba.hardware.rtl.memory.prefetch import Segments
from lightmamba.hardware.rtl.memory.reader import Reader, WordReader
from lightmamba.hardware.rtl.memory.rows import RowReader, RowWriter
from lightmamba.hardware.rtl.memory.runs import RUN, Runs
from lightmamba.hardware.rtl.memory.spread import wire_spread
from lightmamba.hardware.rtl.memory.states import states_pending, wire_states
from lightmamba.hardware.rtl.memory.table import wire_tables
from lightmamba.hardware.rtl.memory.vectors import logits_pending, wire_logits, wire_rows
from lightmamba.hardware.rtl.memory.watch import Faults, ReadWatch, WriteWatch
from lightmamba.hardware.rtl.memory.writer import WordWriter, Writer
from lightmamba.hardware.rtl.streams import Fork, join
from lightmamba.hardware.rtl.units import Units

__all__ = ["MemorySide"]


class MemorySide(Elaboratable):
    """Readers, writers and their commands, between the units and the masters of the top level.

    Parameters
    ----------
    config : ArchConfig
    masters : {port name: AXI4 interface}
        Members of the top level.
    host, sequencer, units
        Where bases come from, when a token begins, and who takes and gives the data.

    Attributes
    ----------
    drained, pending : Signal
        No read is outstanding; something is under way for which the last token waits: its writes,
        reads, or an answer that is wrong and not in ``faults`` yet.
    faults : Faults
        Wrong answers, until prefetch stops.
    """

    def __init__(
        self,
        config: ArchConfig,
        masters: Mapping[str, Any],
        host: Any,
        sequencer: Any,
        units: Units,
    ) -> None:
        self.config, self.masters = config, masters
        self.drained, self.pending = Signal(), Signal()
        aux, burst = config.aux_port_bits, config.burst_beats
        words = config.aux_fifo * WORD_BITS // aux
        readers: dict[str, Any] = {
            **{
                f"lane{n}": Reader(config.port_bits, config.weight_fifo, burst)
                for n in range(config.lanes)
            },
            **{
                name: Reader(config.state_port_bits, STATE_READ_BURSTS * burst, burst)
                for name in state_clients(config)
            },
            **{name: WordReader(aux, words, burst) for name in aux_readers(config)},
        }
        writers: dict[str, Any] = {
            **{
                name: Writer(config.state_port_bits, STATE_WRITE_BURSTS * burst, burst)
                for name in state_clients(config)
            },
            **{name: WordWriter(aux, words, burst) for name in aux_writers(config)},
        }
        lanes, bits = config.row_lanes, config.port_bits
        spread = [client.name for client in clients(config, SPREAD)]
        row_readers = {name: RowReader(lanes, bits, config.row_fifo, burst) for name in spread}
        row_writers = {name: RowWriter(lanes, bits) for name in spread}
        self.parts = Parts(
            config, host, sequencer, units, readers, writers, row_readers, row_writers
        )
        depths = {name: part.depth for name, part in readers.items()} | {
            of_token(name, n): part.depth
            for name, part in row_readers.items()
            for n in range(lanes)
        }
        self.reads, self.writes = dict[str, ReadWatch](), dict[str, WriteWatch]()
        self.faults = Faults(len(sides(config)))
        for port in ports(config):
            if port.readers:
                owed = sum(depths[name] for name in port.readers)
                self.reads[port.name] = ReadWatch(owed, ids=len(port.readers) > 1)
            if port.writers:
                self.writes[port.name] = WriteWatch(ids=len(port.writers) > 1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        readers = {**self.parts.readers, **self.parts.row_readers}
        writers = {**self.parts.writers, **self.parts.row_writers}
        for name, part in readers.items():
            m.submodules[f"read_{name}"] = part
            m.d.comb += part.flush.eq(~self.parts.run)
        for name, part in writers.items():
            m.submodules[f"write_{name}"] = part
        done = [*(part.drained for part in readers.values()), *wire_tables(m, self.parts)]
        drained = Signal(len(done))
        m.d.sync += [
            drained.eq(Cat(done)),
            self.drained.eq(drained.all()),
        ]
        self._ports(m)
        owing = self._watch(m)
        self._static(m)
        wire_states(m, self.parts)
        wire_spread(m, self.parts)
        wire_rows(m, self.parts)
        wire_logits(m, self.parts)
        m.d.comb += self.pending.eq(
            states_pending(m, self.parts)
            | logits_pending(m, self.parts)
            | owing
            | self.faults.pending
        )
        return m

    def _watch(self, m: Module) -> Signal:
        """Connect the watches of the ports; whether a port owes beats, a cycle late."""
        m.submodules.faults = faults = self.faults
        clear, owing = ~self.parts.run, Signal()
        m.d.comb += faults.clear.eq(clear)
        m.d.sync += owing.eq(Cat(watch.owing for watch in self.reads.values()).any())
        for n, (port, side) in enumerate(sides(self.config)):
            master = self.masters[port.name]
            watch: Any = (self.reads if side == "read" else self.writes)[port.name]
            m.submodules[f"watch_{port.name}_{side}"] = watch
            if side == "read":
                m.d.comb += [
                    watch.asked.eq(master.arvalid & master.arready),
                    watch.length.eq(master.arlen),
                    watch.answered.eq(master.rvalid & master.rready),
                    watch.response.eq(master.rresp),
                    watch.last.eq(master.rlast),
                    watch.answered_id.eq(master.rid),
                ]
            else:
                m.d.comb += [
                    watch.answered.eq(master.bvalid & master.bready),
                    watch.response.eq(master.bresp),
                    watch.answered_id.eq(master.bid),
                ]
            m.d.comb += [
                watch.clear.eq(clear),
                faults.i_fault[n].eq(watch.fault),
                faults.i_id[n].eq(watch.id),
                faults.i_address[n].eq(master.araddr if side == "read" else master.awaddr),
            ]
        return owing

    def _ports(self, m: Module) -> None:
        parts = self.parts
        reads, writes = (
            _axi(parts.readers, parts.row_readers),
            _axi(parts.writers, parts.row_writers),
        )
        for port in ports(self.config):
            master = self.masters[port.name]
            if port.readers:
                clients = [reads[name] for name in port.readers]
                arbiter = ReadArbiter(port.bits, len(clients)) if len(clients) > 1 else None
                self._attach(
                    m,
                    f"arbiter_{port.name}_read",
                    arbiter,
                    clients,
                    master,
                    axi_master(port.bits, write=False),
                )
            if port.writers:
                clients = [writes[name] for name in port.writers]
                arbiter = WriteArbiter(port.bits, len(clients)) if len(clients) > 1 else None
                self._attach(
                    m,
                    f"arbiter_{port.name}_write",
                    arbiter,
                    clients,
                    master,
                    axi_master(port.bits, read=False),
                )

    @staticmethod
    def _attach(
        m: Module, name: str, arbiter: Any, clients: list[Any], master: Any, side: Any
    ) -> None:
        source = clients[0]
        if arbiter is not None:
            m.submodules[name] = arbiter
            for n, client in enumerate(clients):
                _wire(m, client, getattr(arbiter, f"i{n}"), side)
            source = arbiter.o
        _wire(m, source, master, side)

    def _static(self, m: Module) -> None:
        """Streams that are the same for every token: read ahead, across tokens."""
        host, units, readers = self.parts.host, self.parts.units, self.parts.readers
        (weights,) = clients(self.config, WEIGHTS)
        choice = chosen(self.config, weights)
        if choice:
            self._runs(m, choice)
        for n in range(self.config.lanes):
            if not choice:
                walk = Segments(self.config.port_bits // 8)
                m.submodules[f"segments_lane{n}"] = walk
                m.d.comb += walk.base.eq(host.lane_base[n])
                self._weights(m, walk)
                join(m, walk.o, readers[f"lane{n}"].command)
            join(m, readers[f"lane{n}"].o, units.lanes.i_beat[n])
        graph = machine(self.config.kinds)
        for name in (client.name for client in clients(self.config, STATIC)):
            walk = Segments(WORD_BITS // 8)
            m.submodules[f"segments_{name}"] = walk
            m.d.comb += [
                walk.base.eq(getattr(host, f"{name}_base")),
                walk.layers_count.eq(getattr(host, f"{name}_words")),
            ]
            self._start(m, walk)
            join(m, walk.o, readers[name].command)
            join(m, readers[name].o, units.port(graph.client(name).target))

    def _weights(self, m: Module, walk: Any) -> None:
        host = self.parts.host
        m.d.comb += [
            walk.layers_count.eq(host.layers_beats),
            walk.head_count.eq(host.head_beats),
            walk.head.eq(self.parts.sequencer.begin_head),
        ]
        self._start(m, walk)

    def _runs(self, m: Module, choice: str) -> None:
        """Weights of which a unit chooses: one walk for all lanes."""
        host, units, config = self.parts.host, self.parts.units, self.config
        given = units.port(choice)
        m.submodules.runs = walk = Runs(given.payload.shape())
        m.submodules.runs_fork = fork = Fork(RUN, config.lanes)
        self._weights(m, walk)
        m.d.comb += walk.chooses.eq(host.chooses)
        join(m, given, walk.i)
        join(m, walk.o, fork.i)
        places = exact_log2(config.port_bits // 8)
        for n in range(config.lanes):
            o, command = getattr(fork, f"o{n}"), self.parts.readers[f"lane{n}"].command
            m.d.comb += [
                command.valid.eq(o.valid),
                o.ready.eq(command.ready),
                command.payload.address.eq(host.lane_base[n] + (o.payload.offset << places)),
                command.payload.count.eq(o.payload.count),
            ]

    def _start(self, m: Module, walk: Any) -> None:
        m.d.comb += [walk.run.eq(self.parts.run), walk.start.eq(self.parts.sequencer.begin)]

    def count(self, counters: Counters) -> None:
        """Connect the traffic of every port."""
        for port in ports(self.config):
            master, watch = self.masters[port.name], self.reads.get(port.name)
            read, written, wait = Const(0), Const(0), Const(0)
            if watch is not None:
                read, wait = master.rvalid & master.rready, watch.wait
            if port.writers:
                written = master.wvalid & master.wready
            counters.count(f"{port.name}.beats_read", read, always=True)
            counters.count(f"{port.name}.beats_written", written, always=True)
            counters.count(f"{port.name}.wait", wait)


def _axi(alone: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
    """Masters by client: one of each, or one for each lane."""
    return {name: part.axi for name, part in alone.items()} | {
        of_token(name, n): axi for name, part in rows.items() for n, axi in enumerate(part.axi)
    }


def _wire(m: Module, source: Any, target: Any, side: wiring.Signature) -> None:
    """Connect one master's read or write side to the next one on the way to the memory."""
    for name, member in side.members.items():
        ours, theirs = getattr(source, name), getattr(target, name)
        m.d.comb += theirs.eq(ours) if member.flow is Out else ours.eq(theirs)
