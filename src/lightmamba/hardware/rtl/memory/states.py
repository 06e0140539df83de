"""Memory of each sequence of a pass: states by head, states and records by layer."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from lightmamba.arch.clients import HEAD, LAYER, RECORD, SPREAD
from lightmamba.arch.graph import Graph
from lightmamba.arch.latency import STATE_HEADS
from lightmamba.arch.ports import of_token
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.ports import clients, state_clients
from lightmamba.hardware.rtl.memory.parts import Parts, hand_on
from lightmamba.hardware.rtl.memory.prefetch import LAYER_BITS, LayerWalk, Walk
from lightmamba.hardware.rtl.memory.slot_walk import HEAD_BITS, SlotWalk
from lightmamba.hardware.rtl.memory.state import STATE_COMMAND, StatePacker, StateUnpacker
from lightmamba.hardware.rtl.passes import slots_of
from lightmamba.hardware.rtl.streams import Fork, StreamQueue, join

__all__ = ["states_pending", "wire_states"]


def wire_states(m: Module, parts: Parts) -> None:
    """Read and write what the pass changes of its sequences."""
    config, slots = parts.config, slots_of(parts.host)
    for client in clients(config, HEAD):
        _heads(m, parts, client.name)
    for client in clients(config, LAYER):
        for n, slot in enumerate(slots):
            _layers(m, parts, client.name, n, slot)
    for client in clients(config, RECORD):
        _record(m, parts, client.name)


def states_pending(m: Module, parts: Parts) -> Value:
    """Whether writes of the running pass are not answered yet, without its logits."""
    host, begin, owed = parts.host, parts.sequencer.begin, []
    config, slots, commands = parts.config, slots_of(host), dict[str, Value]()
    if names := state_clients(config):
        some, heads = Signal(range(len(slots) + 1)), Signal(24)  # they stay as they are in a pass
        m.d.sync += [
            some.eq(sum(slot.used & slot.store for slot in slots)),
            heads.eq(host.state_heads[:HEAD_BITS] * some),
        ]
        commands |= dict.fromkeys(names, heads)
    for client in clients(config, LAYER):
        layers = Value.cast(getattr(host, f"{client.name}_layers"))[:LAYER_BITS]
        for n, slot in enumerate(slots):
            commands[of_token(client.name, n)] = Mux(slot.used, layers, 0)
    for client in clients(config, RECORD):
        layers = Value.cast(getattr(host, f"{client.name}_layers"))[:LAYER_BITS]
        commands[client.name] = Mux(getattr(host, client.name)[1], layers, 0)
    for client in clients(config, SPREAD):
        commands[client.name] = Value.cast(getattr(host, f"{client.name}_layers"))[:LAYER_BITS]
    writers = {**parts.writers, **parts.row_writers}
    for name, count in commands.items():
        left = Signal(24, name=f"unwritten_{name}")
        m.d.sync += left.eq(left + Mux(begin, count, 0) - writers[name].done)
        owed.append(left.any())
    return Cat(owed).any()


def _heads(m: Module, parts: Parts, client: str) -> None:
    """Words of states that lie head by head, between their ports and the unit."""
    config, names, graph = parts.config, state_clients(parts.config), _graph(parts)
    given, taken = (parts.units.port(end) for end in graph.ends(client))
    unpackers = [StateUnpacker(config) for _ in names]
    packers = [StatePacker(config) for _ in names]
    for n, (name, unpacker, packer) in enumerate(zip(names, unpackers, packers, strict=True)):
        m.submodules[of_token("unpacker", n)] = unpacker
        m.submodules[of_token("packer", n)] = packer
        join(m, parts.readers[name].o, unpacker.i)
        join(m, packer.o, parts.writers[name].i)
        _walk(m, parts, n, name, unpacker, packer)
    # Words wait next to the unit, so that it takes one per cycle however narrow the port is.
    shape, depth = given.payload.shape(), config.state_fifo
    m.submodules.state_ahead = ahead = StreamQueue(shape, depth)
    m.submodules.state_behind = behind = StreamQueue(shape, depth)
    # Stall reads while the queues before and after the unit together hold more than the depth of
    # one, so that reads cannot starve the writes that the unit waits for.
    waiting = Signal(range(2 * depth + 1))
    m.d.sync += [
        waiting.eq(ahead.level + behind.level),
        *(parts.readers[name].hold.eq(waiting > depth) for name in names),
    ]
    _gather(m, [unpacker.o for unpacker in unpackers], ahead.i)
    join(m, ahead.o, given)
    join(m, taken, behind.i)
    _spread(m, behind.o, [packer.i for packer in packers])


def _gather(m: Module, parts: list[Any], whole: Any) -> None:
    """Join words of the ports to one of all, when each of them has its part."""
    if len(parts) == 1:
        join(m, parts[0], whole)
        return
    taken = whole.valid & whole.ready
    m.d.comb += [
        whole.valid.eq(Cat(part.valid for part in parts).all()),
        *(part.ready.eq(taken) for part in parts),
        *(
            Value.cast(getattr(whole.payload, name)).eq(
                Cat(Value.cast(getattr(part.payload, name)) for part in parts)
            )
            for name in ("q", "exp")
        ),
    ]


def _spread(m: Module, whole: Any, parts: list[Any]) -> None:
    """Give each port its part of a word, each in its own time."""
    if len(parts) == 1:
        join(m, whole, parts[0])
        return
    m.submodules.fork_state = fork = Fork(whole.payload.shape(), len(parts))
    join(m, whole, fork.i)
    for n, part in enumerate(parts):
        o = getattr(fork, f"o{n}")
        m.d.comb += [part.valid.eq(o.valid), o.ready.eq(part.ready)]
        for name in ("q", "exp"):
            mine = Value.cast(getattr(part.payload, name))
            m.d.comb += mine.eq(Value.cast(getattr(o.payload, name)).word_select(n, len(mine)))


def _walk(m: Module, parts: Parts, port: int, name: str, unpacker: Any, packer: Any) -> None:
    """Commands for the states of all slots, through one port."""
    host, sequencer = parts.host, parts.sequencer
    m.submodules[f"walk_{name}"] = walk = SlotWalk(parts.config)
    m.d.comb += [
        walk.run.eq(parts.run),
        walk.begin.eq(sequencer.start & ~sequencer.busy),
        walk.start.eq(sequencer.state),
        walk.fresh.eq(sequencer.state_fresh),
        walk.heads.eq(host.state_heads),
        walk.stride.eq(host.head_stride),
        walk.count.eq(host.state_head_beats),
        walk.written.eq(parts.writers[name].done),
    ]
    base, other = (getattr(host, of_token(way, port)) for way in ("slot_read", "slot_write"))
    for n in range(parts.config.tokens):
        m.d.comb += [walk.base[n].eq(base[n]), walk.other[n].eq(other[n])]
    for mine, slot in zip(getattr(walk, "slot", ()), slots_of(host), strict=False):
        m.d.comb += mine.eq(slot)
    # Memory answers late and heads are short, so the reader has commands for several.
    m.submodules[f"asked_{name}"] = asked = StreamQueue(STATE_COMMAND, STATE_HEADS)
    join(m, asked.o, unpacker.command)
    for way, given, command, also in (
        ("read", walk.o, parts.readers[name].command, asked.i),
        ("write", walk.o_write, parts.writers[name].command, packer.command),
    ):
        hand_on(m, f"{name}_{way}", given, command, also, host.head_words)


def _layers(m: Module, parts: Parts, client: str, n: int, slot: Any) -> None:
    """State of one slot that lies layer by layer: all words of a layer, read and written."""
    host, sequencer, name = parts.host, parts.sequencer, of_token(client, n)
    reader, writer = parts.readers[name], parts.writers[name]
    m.submodules[f"walk_{name}"] = walk = LayerWalk()
    m.d.comb += [
        walk.run.eq(parts.run),
        walk.start.eq(sequencer.state & slot.used),
        walk.fresh.eq(sequencer.state_fresh & slot.fresh),
        walk.layers.eq(getattr(host, f"{client}_layers")),
        walk.base.eq(getattr(host, f"slot_{client}")[n]),
        walk.stride.eq(getattr(host, f"{client}_stride")),
        walk.count.eq(getattr(host, f"{client}_words")),
        walk.written.eq(writer.done),
    ]
    join(m, walk.o, reader.command)
    join(m, walk.o_write, writer.command)
    given, taken = (parts.units.port(of_slot(e, n)) for e in _graph(parts).ends(client))
    join(m, reader.o, given)
    join(m, taken, writer.i)


def of_slot(end: str, n: int) -> str:
    """Port ``unit.port0`` of another slot: ``unit.port1`` and so on."""
    return f"{end.removesuffix('0')}{n}"


def _graph(parts: Parts) -> Graph:
    return machine(parts.config.kinds)


def _record(m: Module, parts: Parts, client: str) -> None:
    """The record that a pass applies again, and the one that it writes."""
    host, sequencer = parts.host, parts.sequencer
    reader, writer = parts.readers[client], parts.writers[client]
    bits = getattr(host, client)
    for n, (name, command) in enumerate((("read", reader.command), ("write", writer.command))):
        m.submodules[f"walk_{client}_{name}"] = walk = Walk()
        m.d.comb += [
            walk.run.eq(parts.run),
            walk.start.eq(sequencer.state & bits[n]),
            walk.layers.eq(getattr(host, f"{client}_layers")),
            walk.base.eq(getattr(host, f"{client}_{name}")),
            walk.stride.eq(getattr(host, f"{client}_stride")),
            walk.allowed.eq(1),
            command.valid.eq(walk.o.valid),
            command.payload.address.eq(walk.o.payload.address),
            command.payload.count.eq(getattr(host, f"{client}_count")),
            walk.o.ready.eq(command.ready),
        ]
    given, taken = (parts.units.port(end) for end in _graph(parts).ends(client))
    join(m, reader.o, given)
    join(m, taken, writer.i)
