"""The side of the memory for several tokens: states by slot, rows and logits by vector, the record.

:class:`lightmamba.rtl.memory_side.MemorySide` has what every machine has, and calls these.
"""

from typing import TYPE_CHECKING, Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from lightmamba.arch.latency import STATE_HEADS
from lightmamba.arch.passes import SLOT, VECTOR
from lightmamba.arch.ports import ADDRESS_BITS, RECORD, of_token
from lightmamba.arch.program import Op
from lightmamba.rtl.layouts import record
from lightmamba.rtl.prefetch import LayerWalk, Walk
from lightmamba.rtl.slot_walk import SlotWalk
from lightmamba.rtl.state import STATE_COMMAND
from lightmamba.rtl.streams import Fork, StreamQueue, join

if TYPE_CHECKING:
    from lightmamba.rtl.memory_side import MemorySide

__all__ = ["commands_of", "gather", "later_logits", "later_vectors", "spread", "walk_slots"]


def gather(m: Module, parts: list[Any], whole: Any) -> None:
    """Join words of several ports to one of all, when each of them has its part."""
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


def spread(m: Module, whole: Any, parts: list[Any]) -> None:
    """Give each port its part of a word, each in its own time."""
    m.submodules.fork_state = fork = Fork(whole.payload.shape(), len(parts))
    join(m, whole, fork.i)
    for n, part in enumerate(parts):
        o = getattr(fork, f"o{n}")
        m.d.comb += [part.valid.eq(o.valid), o.ready.eq(part.ready)]
        for name in ("q", "exp"):
            mine = Value.cast(getattr(part.payload, name))
            m.d.comb += mine.eq(Value.cast(getattr(o.payload, name)).word_select(n, len(mine)))


def walk_slots(side: "MemorySide", m: Module, unpackers: list[Any], packers: list[Any]) -> None:
    """State head by head, convolution state and record layer by layer, of the slots of a pass."""
    m.d.comb += side.host.state_copy.eq(0)
    for n, (unpacker, packer) in enumerate(zip(unpackers, packers, strict=True)):
        _state(side, m, n, unpacker, packer)
    for n in range(side.config.tokens):
        _conv(side, m, n)
    _record(side, m)


def _state(side: "MemorySide", m: Module, port: int, unpacker: Any, packer: Any) -> None:
    """States of all slots, through one port."""
    host, sequencer, name = side.host, side.sequencer, of_token("state", port)
    m.submodules[f"walk_{name}"] = walk = SlotWalk(side.config.tokens)
    m.d.comb += [
        walk.run.eq(host.control[0]),
        walk.begin.eq(sequencer.start & ~sequencer.busy),
        walk.start.eq(sequencer.state),
        walk.fresh.eq(sequencer.state_fresh),
        walk.heads.eq(host.state_heads),
        walk.stride.eq(host.head_stride),
        walk.count.eq(host.state_head_beats),
        walk.written.eq(side.writers[name].done),
    ]
    base, other = (getattr(host, of_token(way, port)) for way in ("slot_read", "slot_write"))
    for n in range(side.config.tokens):
        m.d.comb += [
            Value.cast(walk.slot[n]).eq(host.slot[n]),
            walk.base[n].eq(base[n]),
            walk.other[n].eq(other[n]),
        ]
    # Memory answers late and heads are short, so the reader has commands for several.
    m.submodules[f"asked_{name}"] = asked = StreamQueue(STATE_COMMAND, STATE_HEADS)
    join(m, asked.o, unpacker.command)
    for way, given, command, also in (
        ("read", walk.o, side.readers[name].command, asked.i),
        ("write", walk.o_write, side.writers[name].command, packer.command),
    ):
        side.command(m, f"{name}_{way}", given, command, also, host.head_words)


def _conv(side: "MemorySide", m: Module, n: int) -> None:
    """State of the convolution of one slot."""
    host, sequencer, conv = side.host, side.sequencer, side.units.conv
    name = of_token("conv_state", n)
    reader, writer = side.readers[name], side.writers[name]
    slot = _slot(host, n)
    m.submodules[f"walk_{name}"] = walk = LayerWalk()
    m.d.comb += [
        walk.run.eq(host.control[0]),
        walk.start.eq(sequencer.state & slot.used),
        walk.fresh.eq(sequencer.state_fresh & slot.fresh),
        walk.layers.eq(host.layers),
        walk.base.eq(host.slot_conv[n]),
        walk.other.eq(host.slot_conv[n]),
        walk.stride.eq(host.conv_stride),
        walk.count.eq(host.conv_state_words),
        walk.written.eq(writer.done),
    ]
    join(m, walk.o, reader.command)
    join(m, walk.o_write, writer.command)
    join(m, reader.o, getattr(conv, f"i_state{n}"))
    join(m, getattr(conv, f"o_state{n}"), writer.i)


def _record(side: "MemorySide", m: Module) -> None:
    """The record that a pass applies again, and the one that it writes."""
    host, sequencer, ssm = side.host, side.sequencer, side.units.ssm
    reader, writer = side.readers[RECORD], side.writers[RECORD]
    for name, wanted, base, command in (
        ("read", host.record[0], host.record_read, reader.command),
        ("write", host.record[1], host.record_write, writer.command),
    ):
        m.submodules[f"walk_record_{name}"] = walk = Walk()
        m.d.comb += [
            walk.run.eq(host.control[0]),
            walk.start.eq(sequencer.state & wanted),
            walk.layers.eq(host.layers),
            walk.base.eq(base),
            walk.other.eq(base),
            walk.stride.eq(host.record_stride),
            walk.allowed.eq(1),
            command.valid.eq(walk.o.valid),
            command.payload.address.eq(walk.o.payload.address),
            command.payload.count.eq(host.record_count),
            walk.o.ready.eq(command.ready),
        ]
    join(m, reader.o, ssm.i_record)
    join(m, ssm.o_record, writer.i)


def later_vectors(side: "MemorySide", m: Module) -> None:
    """Rows of the embedding and logits of the vectors behind the first, beside its own.

    The rows of all vectors are taken in step. Logits of vectors without a token go nowhere.
    """
    host, sequencer, tokens = side.host, side.sequencer, side.config.tokens
    rows = [side.readers[of_token("embedding", n)] for n in range(tokens)]
    embed = side.units.embed.i_word
    m.d.comb += [
        embed.valid.eq(Cat(row.o.valid for row in rows).all()),
        Value.cast(embed.payload).eq(Cat(row.o.payload for row in rows)),
        *(row.o.ready.eq(embed.ready & embed.valid) for row in rows),
    ]
    word = side.units.head.o_word
    m.submodules.fork_logits = fork = Fork(word.payload.shape(), tokens)
    join(m, word, fork.i)
    at: Value = host.logits_base
    for n in range(tokens):
        o, writer, used = (
            getattr(fork, f"o{n}"),
            side.writers[of_token("logits", n)],
            _used(host, n),
        )
        m.d.comb += [
            writer.i.valid.eq(o.valid & used),
            writer.i.payload.eq(Value.cast(o.payload).word_select(n, len(writer.i.payload))),
            o.ready.eq(writer.i.ready | ~used),
        ]
        if n == 0:
            continue
        # Registers that stay as they are, added one after the other.
        place = Signal(ADDRESS_BITS, reset_less=True, name=f"logits_at{n}")
        m.d.sync += place.eq(at[:ADDRESS_BITS] + host.logits_stride)
        at = place
        row, logits = rows[n].command, writer.command
        m.d.comb += [
            row.payload.address.eq(host.later_row[n - 1]),
            row.payload.count.eq(host.embedding_words),
            logits.payload.address.eq(place),
            logits.payload.count.eq(host.logits_words),
        ]
        for command, op, there in ((row, Op.EMBED, Const(1, 1)), (logits, Op.HEAD, used)):
            side.offer(m, command, sequencer.dispatch & (sequencer.op == op) & there)


def commands_of(side: "MemorySide", m: Module) -> dict[str, Value]:
    """Commands of each writer in the running pass, but for logits."""
    host, tokens = side.host, side.config.tokens
    stores = [_slot(host, n).used & _slot(host, n).store for n in range(tokens)]
    some, all_heads = Signal(range(tokens + 1)), Signal(24)  # they stay as they are in a pass
    m.d.sync += [some.eq(sum(stores)), all_heads.eq(host.state_heads[:20] * some)]
    states = range(side.config.state_ports)
    found: dict[str, Value] = {of_token("state", n): all_heads for n in states}
    layers = Value.cast(host.layers)[:16]
    for n in range(tokens):
        found[of_token("conv_state", n)] = Mux(_slot(host, n).used, layers, 0)
    return found | {RECORD: Mux(host.record[1], layers, 0)}


def later_logits(side: "MemorySide", m: Module) -> Value:
    """Whether logits of the vectors behind the first are not written yet."""
    sequencer, pending = side.sequencer, []
    for n in range(1, side.config.tokens):
        left = Signal(name=f"unwritten_logits{n}")
        begun = sequencer.dispatch & (sequencer.op == Op.HEAD) & _used(side.host, n)
        with m.If(begun):
            m.d.sync += left.eq(1)
        with m.Elif(side.writers[of_token("logits", n)].done):
            m.d.sync += left.eq(0)
        pending.append(left)
    return Cat(pending).any()


def _slot(host: Any, n: int) -> Any:
    layout = record(SLOT)
    return layout(Value.cast(host.slot[n])[: layout.size])


def _used(host: Any, n: int) -> Value:
    layout = record(VECTOR)
    used: Value = layout(Value.cast(host.vector[n])[: layout.size]).used
    return used
