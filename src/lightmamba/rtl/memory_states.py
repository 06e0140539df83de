"""Memory of each sequence of a pass: SSM state by head, convolution state and record by layer."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from lightmamba.arch.latency import STATE_HEADS
from lightmamba.arch.ports import RECORD, of_token
from lightmamba.rtl.memory_parts import Parts, hand_on
from lightmamba.rtl.passes import slots_of
from lightmamba.rtl.prefetch import LayerWalk, Walk
from lightmamba.rtl.slot_walk import HEAD_BITS, SlotWalk
from lightmamba.rtl.state import STATE_COMMAND, StatePacker, StateUnpacker
from lightmamba.rtl.streams import Fork, StreamQueue, join

__all__ = ["states_pending", "wire_states"]


def wire_states(m: Module, parts: Parts) -> None:
    """Read and write what the pass changes of its sequences."""
    _state(m, parts)
    for n, slot in enumerate(slots_of(parts.host)):
        _conv(m, parts, n, slot)
    if parts.config.undecided:
        _record(m, parts)


def states_pending(m: Module, parts: Parts) -> Value:
    """Whether writes of the running pass are not answered yet, without its logits."""
    host, begin, owed = parts.host, parts.sequencer.begin, []
    slots, layers = slots_of(host), Value.cast(host.layers)[:16]
    some, heads = Signal(range(len(slots) + 1)), Signal(24)  # they stay as they are in a pass
    m.d.sync += [
        some.eq(sum(slot.used & slot.store for slot in slots)),
        heads.eq(host.state_heads[:HEAD_BITS] * some),
    ]
    commands: dict[str, Value] = dict.fromkeys(_states(parts), heads)
    for n, slot in enumerate(slots):
        commands[of_token("conv_state", n)] = Mux(slot.used, layers, 0)
    if parts.config.undecided:
        commands[RECORD] = Mux(host.record[1], layers, 0)
    for name, count in commands.items():
        left = Signal(24, name=f"unwritten_{name}")
        m.d.sync += left.eq(left + Mux(begin, count, 0) - parts.writers[name].done)
        owed.append(left.any())
    return Cat(owed).any()


def _states(parts: Parts) -> list[str]:
    """Clients of the state's ports."""
    return [of_token("state", n) for n in range(parts.config.state_ports)]


def _state(m: Module, parts: Parts) -> None:
    """Words of state between the ports and the state-space unit."""
    config, ssm, names = parts.config, parts.units.ssm, _states(parts)
    unpackers = [StateUnpacker(config) for _ in names]
    packers = [StatePacker(config) for _ in names]
    for n, (name, unpacker, packer) in enumerate(zip(names, unpackers, packers, strict=True)):
        m.submodules[of_token("unpacker", n)] = unpacker
        m.submodules[of_token("packer", n)] = packer
        join(m, parts.readers[name].o, unpacker.i)
        join(m, packer.o, parts.writers[name].i)
        _walk(m, parts, n, unpacker, packer)
    # Words wait next to the unit, so that it takes one per cycle however narrow the port is.
    shape, depth = ssm.i_state.payload.shape(), config.state_fifo
    m.submodules.state_ahead = ahead = StreamQueue(shape, depth)
    m.submodules.state_behind = behind = StreamQueue(shape, depth)
    # What is ahead of the unit and what is behind it fit into one queue together: else reading far
    # ahead would keep the channel from the writes that the unit waits for.
    waiting = Signal(range(2 * depth + 1))
    m.d.sync += [
        waiting.eq(ahead.level + behind.level),
        *(parts.readers[name].hold.eq(waiting > depth) for name in names),
    ]
    _gather(m, [unpacker.o for unpacker in unpackers], ahead.i)
    join(m, ahead.o, ssm.i_state)
    join(m, ssm.o_state, behind.i)
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


def _walk(m: Module, parts: Parts, port: int, unpacker: Any, packer: Any) -> None:
    """Commands for the states of all slots, through one port."""
    host, sequencer, name = parts.host, parts.sequencer, of_token("state", port)
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


def _conv(m: Module, parts: Parts, n: int, slot: Any) -> None:
    """State of the convolution of one slot."""
    host, sequencer, conv = parts.host, parts.sequencer, parts.units.conv
    name = of_token("conv_state", n)
    reader, writer = parts.readers[name], parts.writers[name]
    m.submodules[f"walk_{name}"] = walk = LayerWalk()
    m.d.comb += [
        walk.run.eq(parts.run),
        walk.start.eq(sequencer.state & slot.used),
        walk.fresh.eq(sequencer.state_fresh & slot.fresh),
        walk.layers.eq(host.layers),
        walk.base.eq(host.slot_conv[n]),
        walk.stride.eq(host.conv_stride),
        walk.count.eq(host.conv_state_words),
        walk.written.eq(writer.done),
    ]
    join(m, walk.o, reader.command)
    join(m, walk.o_write, writer.command)
    join(m, reader.o, getattr(conv, f"i_state{n}"))
    join(m, getattr(conv, f"o_state{n}"), writer.i)


def _record(m: Module, parts: Parts) -> None:
    """The record that a pass applies again, and the one that it writes."""
    host, sequencer, ssm = parts.host, parts.sequencer, parts.units.ssm
    reader, writer = parts.readers[RECORD], parts.writers[RECORD]
    for name, wanted, base, command in (
        ("read", host.record[0], host.record_read, reader.command),
        ("write", host.record[1], host.record_write, writer.command),
    ):
        m.submodules[f"walk_record_{name}"] = walk = Walk()
        m.d.comb += [
            walk.run.eq(parts.run),
            walk.start.eq(sequencer.state & wanted),
            walk.layers.eq(host.layers),
            walk.base.eq(base),
            walk.stride.eq(host.record_stride),
            walk.allowed.eq(1),
            command.valid.eq(walk.o.valid),
            command.payload.address.eq(walk.o.payload.address),
            command.payload.count.eq(host.record_count),
            walk.o.ready.eq(command.ready),
        ]
    join(m, reader.o, ssm.i_record)
    join(m, ssm.o_record, writer.i)
