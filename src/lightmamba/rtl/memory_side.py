"""The side of the memory: what reads and writes, ahead of the units, and through which port."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import WORD_BITS
from lightmamba.arch.latency import STATE_READ_BURSTS, STATE_WRITE_BURSTS
from lightmamba.arch.machine import MACHINE
from lightmamba.arch.ports import ADDRESS_BITS, STATIC, aux_readers, aux_writers, of_token, ports
from lightmamba.arch.program import Op
from lightmamba.rtl.arbiter import ReadArbiter, WriteArbiter
from lightmamba.rtl.axi import master as axi_master
from lightmamba.rtl.counters import Counters, Traffic
from lightmamba.rtl.memory_slots import (
    commands_of,
    gather,
    later_logits,
    later_vectors,
    spread,
    walk_slots,
)
from lightmamba.rtl.pipe import Pipe
from lightmamba.rtl.prefetch import LayerWalk, Segments
from lightmamba.rtl.reader import Reader, WordReader
from lightmamba.rtl.shifts import SPLIT
from lightmamba.rtl.state import StatePacker, StateUnpacker
from lightmamba.rtl.streams import Fork, StreamQueue, join
from lightmamba.rtl.units import Units
from lightmamba.rtl.writer import WordWriter, Writer

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
    drained, error, writes_pending : Signal
        No read is outstanding; a response was not OKAY; a write of this token has no answer yet.
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
        self.host, self.sequencer, self.units = host, sequencer, units
        self.drained, self.error, self.writes_pending = Signal(), Signal(), Signal()
        aux, burst = config.aux_port_bits, config.burst_beats
        words = config.aux_fifo * WORD_BITS // aux
        self.readers: dict[str, Any] = {
            **{
                f"lane{n}": Reader(config.port_bits, config.weight_fifo, burst)
                for n in range(config.lanes)
            },
            **{
                of_token("state", n): Reader(
                    config.state_port_bits, STATE_READ_BURSTS * burst, burst
                )
                for n in range(config.state_ports)
            },
            **{name: WordReader(aux, words, burst) for name in aux_readers(config)},
        }
        self.writers: dict[str, Any] = {
            **{
                of_token("state", n): Writer(
                    config.state_port_bits, STATE_WRITE_BURSTS * burst, burst
                )
                for n in range(config.state_ports)
            },
            **{name: WordWriter(aux, words, burst) for name in aux_writers(config)},
        }
        self.traffic = {port.name: Traffic() for port in ports(config)}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self.readers.items():
            m.submodules[f"read_{name}"] = part
            m.d.comb += part.flush.eq(~self.host.control[0])
        for name, part in self.writers.items():
            m.submodules[f"write_{name}"] = part
            m.d.comb += part.clear.eq(~self.host.control[0])
        drained = Signal(len(self.readers))
        m.d.sync += [
            drained.eq(Cat(part.drained for part in self.readers.values())),
            self.drained.eq(drained.all()),
            self.error.eq(
                Cat(part.error for part in (*self.readers.values(), *self.writers.values())).any()
            ),
        ]
        self._ports(m)
        self._static(m)
        self._layers(m)
        self._embedding(m)
        self._pending(m)
        return m

    def _ports(self, m: Module) -> None:
        for port in ports(self.config):
            master, watch = self.masters[port.name], self.traffic[port.name]
            m.submodules[f"traffic_{port.name}"] = watch
            if port.readers:
                clients = [self.readers[name].axi for name in port.readers]
                arbiter = ReadArbiter(port.bits, len(clients)) if len(clients) > 1 else None
                self._attach(
                    m,
                    f"arbiter_{port.name}_read",
                    arbiter,
                    clients,
                    master,
                    axi_master(port.bits, write=False),
                )
                m.d.comb += [
                    watch.asked.eq(master.arvalid & master.arready),
                    watch.length.eq(master.arlen),
                    watch.read.eq(master.rvalid & master.rready),
                ]
            if port.writers:
                clients = [self.writers[name].axi for name in port.writers]
                arbiter = WriteArbiter(port.bits, len(clients)) if len(clients) > 1 else None
                self._attach(
                    m,
                    f"arbiter_{port.name}_write",
                    arbiter,
                    clients,
                    master,
                    axi_master(port.bits, read=False),
                )
                m.d.comb += watch.written.eq(master.wvalid & master.wready)

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
        host, sequencer, units = self.host, self.sequencer, self.units
        for n in range(self.config.lanes):
            walk = Segments(self.config.port_bits // 8)
            m.submodules[f"segments_lane{n}"] = walk
            m.d.comb += [
                walk.base.eq(host.lane_base[n]),
                walk.layers_count.eq(host.layers_beats),
                walk.head_count.eq(host.head_beats),
                walk.head.eq(sequencer.begin_head),
            ]
            self._start(m, walk, self.sequencer.begin)
            join(m, walk.o, self.readers[f"lane{n}"].command)
            join(m, self.readers[f"lane{n}"].o, units.lanes.i_beat[n])
        for name in STATIC:
            walk = Segments(WORD_BITS // 8)
            m.submodules[f"segments_{name}"] = walk
            m.d.comb += [
                walk.base.eq(getattr(host, f"{name}_base")),
                walk.layers_count.eq(getattr(host, f"{name}_words")),
            ]
            self._start(m, walk, self.sequencer.begin)
            join(m, walk.o, self.readers[name].command)
        several = self.config.tokens > 1
        for name in STATIC if several else (*STATIC, "embedding"):
            join(m, self.readers[name].o, units.port(MACHINE.client(name).target))

    def _start(self, m: Module, walk: Any, start: Value) -> None:
        m.d.comb += [walk.run.eq(self.host.control[0]), walk.start.eq(start)]

    def _layers(self, m: Module) -> None:
        """State and convolution state: layer by layer, when the sequencer says so."""
        host, units = self.host, self.units
        several = self.config.tokens > 1
        states = [of_token("state", n) for n in range(self.config.state_ports)]
        unpackers = [StateUnpacker(self.config) for _ in states]
        packers = [StatePacker(self.config) for _ in states]
        for n, (state, unpacker, packer) in enumerate(zip(states, unpackers, packers, strict=True)):
            m.submodules[of_token("unpacker", n)] = unpacker
            m.submodules[of_token("packer", n)] = packer
            join(m, self.readers[state].o, unpacker.i)
        # Words wait beside the unit, so that it takes one per cycle however narrow the port is.
        shape, depth = units.ssm.i_state.payload.shape(), self.config.state_fifo
        m.submodules.state_ahead = ahead = StreamQueue(shape, depth)
        m.submodules.state_behind = behind = StreamQueue(shape, depth)
        # What is ahead of the unit and what is behind it fit into one queue together: else reading
        # far ahead would keep the channel from the writes that the unit waits for.
        waiting = Signal(range(2 * depth + 1))
        m.d.sync += [
            waiting.eq(ahead.level + behind.level),
            *(self.readers[state].hold.eq(waiting > depth) for state in states),
        ]
        if len(states) > 1:
            gather(m, [unpacker.o for unpacker in unpackers], ahead.i)
        else:
            join(m, unpackers[0].o, ahead.i)
        join(m, ahead.o, units.ssm.i_state)
        join(m, units.ssm.o_state, behind.i)
        if len(states) > 1:
            spread(m, behind.o, [packer.i for packer in packers])
        else:
            join(m, behind.o, packers[0].i)
        for state, packer in zip(states, packers, strict=True):
            join(m, packer.o, self.writers[state].i)
        if several:
            walk_slots(self, m, unpackers, packers)
            return
        join(m, self.readers["conv_state"].o, units.conv.i_state)
        join(m, units.conv.o_state, self.writers["conv_state"].i)
        counts = {
            "state": (*host.state_base, host.state_stride, host.state_beats),
            "conv_state": (
                host.conv_base, host.conv_base, host.conv_stride, host.conv_state_words,
            ),
        }  # fmt: skip
        for name, (base, other, stride, count) in counts.items():
            walk = LayerWalk()
            m.submodules[f"walk_{name}"] = walk
            m.d.comb += [
                walk.fresh.eq(self.sequencer.state_fresh),
                walk.layers.eq(host.layers),
                walk.base.eq(base),
                walk.other.eq(other),
                walk.stride.eq(stride),
                walk.count.eq(count),
                walk.written.eq(self.writers[name].done),
            ]
            if name == "state":
                m.d.comb += host.state_copy.eq(walk.copy)
            self._start(m, walk, self.sequencer.state)
            also = {"state": (unpackers[0].command, packers[0].command)}.get(name, (None, None))
            words = host.state_words
            self.command(m, f"{name}_read", walk.o, self.readers[name].command, also[0], words)
            self.command(
                m, f"{name}_write", walk.o_write, self.writers[name].command, also[1], words
            )

    @staticmethod
    def command(m: Module, name: str, source: Any, target: Any, also: Any, words: Value) -> None:
        """Hand a command on; ``also`` gets one too, of so many words of state."""
        if also is None:
            join(m, source, target)
            return
        m.submodules[f"fork_{name}"] = fork = Fork(source.payload.shape(), 2)
        join(m, source, fork.i)
        join(m, fork.o0, target)
        m.d.comb += [
            also.valid.eq(fork.o1.valid),
            also.payload.words.eq(words),
            fork.o1.ready.eq(also.ready),
        ]

    @staticmethod
    def offer(m: Module, command: Any, when: Value) -> None:
        """Offer a command that stays as it is, from ``when`` until it is taken."""
        with m.If(when):
            m.d.sync += command.valid.eq(1)
        with m.Elif(command.ready):
            m.d.sync += command.valid.eq(0)

    def _embedding(self, m: Module) -> None:
        """One row of the table per token; the logits of a head."""
        host, sequencer = self.host, self.sequencer
        row, logits = self.readers["embedding"].command, self.writers["logits"].command
        # Base + stride * token, in two parts; all three stay as they are.
        base, stride, token = host.embedding_base, host.embedding_stride, sequencer.begin_token
        pipe = Pipe(m)
        low = pipe.step(lambda t: stride[:SPLIT] * t, pipe.input(token))
        high = pipe.step(lambda t: stride[SPLIT:] * t, pipe.input(token))
        below = pipe.step(lambda p: base[:SPLIT] + p[:SPLIT], low)
        above = pipe.step(lambda p, q: p[SPLIT:] + q, low, high, shape=ADDRESS_BITS - SPLIT)
        above = pipe.step(lambda v, b: base[SPLIT:ADDRESS_BITS] + v + b[SPLIT], above, below)
        m.d.sync += [
            row.payload.address.eq(Cat(pipe.delay(below, above.stage).value[:SPLIT], above.value)),
            row.payload.count.eq(host.embedding_words),
            logits.payload.address.eq(host.logits_base),
            logits.payload.count.eq(host.logits_words),
        ]
        # The address is ready four cycles after `begin`, long before the first dispatch.
        for command, op in ((row, Op.EMBED), (logits, Op.HEAD)):
            self.offer(m, command, sequencer.dispatch & (sequencer.op == op))
        if self.config.tokens > 1:
            later_vectors(self, m)
        else:
            join(m, self.units.head.o_word, self.writers["logits"].i)

    def _pending(self, m: Module) -> None:
        """Writes of the running token that are not answered."""
        sequencer, host, owed = self.sequencer, self.host, []
        several = self.config.tokens > 1
        counts = (
            commands_of(self, m) if several else dict.fromkeys(("state", "conv_state"), host.layers)
        )
        for name, count in counts.items():
            left = Signal(24 if several else 16, name=f"unwritten_{name}")
            begun = Value.cast(sequencer.begin).replicate(len(count))
            m.d.sync += left.eq(left + (count & begun) - self.writers[name].done)
            owed.append(left.any())
        logits: Value = Signal()
        with m.If(sequencer.dispatch & (sequencer.op == Op.HEAD)):
            m.d.sync += logits.eq(1)
        with m.Elif(self.writers["logits"].done):
            m.d.sync += logits.eq(0)
        if several:
            logits = logits | later_logits(self, m)
        m.d.comb += self.writes_pending.eq(Cat(owed).any() | logits)

    def count(self, counters: Counters) -> None:
        """Connect the traffic of every port."""
        for name, watch in self.traffic.items():
            counters.count(f"{name}.beats_read", watch.read, always=True)
            counters.count(f"{name}.beats_written", watch.written, always=True)
            counters.count(f"{name}.wait", watch.wait)


def _wire(m: Module, source: Any, target: Any, side: wiring.Signature) -> None:
    """Connect one master's read or write side to the next one on the way to the memory."""
    for name, member in side.members.items():
        ours, theirs = getattr(source, name), getattr(target, name)
        m.d.comb += theirs.eq(ours) if member.flow is Out else ours.eq(theirs)
