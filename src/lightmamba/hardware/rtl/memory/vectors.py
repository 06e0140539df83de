"""Memory of each vector of a pass: its row of the embedding, and its logits."""

from amaranth.hdl import Cat, Module, Signal, Value

from lightmamba.arch.ports import ADDRESS_BITS, of_token
from lightmamba.hardware.machine.program import Op
from lightmamba.hardware.rtl.memory.parts import Parts, offer
from lightmamba.hardware.rtl.memory.table import row_address
from lightmamba.hardware.rtl.passes import vectors_of
from lightmamba.hardware.rtl.pipe import Pipe
from lightmamba.hardware.rtl.streams import Fork, join

__all__ = ["logits_pending", "wire_logits", "wire_rows"]


def wire_rows(m: Module, parts: Parts) -> None:
    """Read a row of the embedding for each vector; the rows of all are taken in step.

    The row of the first vector follows from its id, which a chain makes itself; the host gives the
    addresses of the others.
    """
    host, sequencer = parts.host, parts.sequencer
    readers = [parts.readers[of_token("embedding", n)] for n in range(parts.config.tokens)]
    embed = parts.units.embed.i_word
    m.d.comb += [
        embed.valid.eq(Cat(reader.o.valid for reader in readers).all()),
        Value.cast(embed.payload).eq(Cat(reader.o.payload for reader in readers)),
        *(reader.o.ready.eq(embed.ready & embed.valid) for reader in readers),
    ]
    # The address is ready four cycles after `begin`, long before the first dispatch.
    addresses = [_row(m, parts), *getattr(host, "later_row", ())]
    starts = sequencer.dispatch & (sequencer.op == Op.EMBED)
    for reader, address in zip(readers, addresses, strict=True):
        m.d.comb += [
            reader.command.payload.address.eq(address),
            reader.command.payload.count.eq(host.embedding_words),
        ]
        offer(m, reader.command, starts)


def _row(m: Module, parts: Parts) -> Signal:
    """Address of the first token's row; the token stays as it is."""
    host, token = parts.host, parts.sequencer.begin_token
    pipe, address = Pipe(m), Signal(ADDRESS_BITS)
    found = row_address(pipe, host.embedding_base, host.embedding_stride, token)
    m.d.sync += address.eq(found.value)
    return address


def wire_logits(m: Module, parts: Parts) -> None:
    """Write the logits of each vector; those of vectors without a token go nowhere."""
    host, word = parts.host, parts.units.head.o_word
    m.submodules.fork_logits = fork = Fork(word.payload.shape(), parts.config.tokens)
    join(m, word, fork.i)
    at: Value = host.logits_base
    for n, vector in enumerate(vectors_of(host)):
        o, writer = getattr(fork, f"o{n}"), parts.writers[of_token("logits", n)]
        if n:  # registers that stay as they are, added one after the other
            place = Signal(ADDRESS_BITS, reset_less=True, name=f"logits_at{n}")
            m.d.sync += place.eq(at[:ADDRESS_BITS] + host.logits_stride)
            at = place
        m.d.comb += [
            writer.i.valid.eq(o.valid & vector.used),
            writer.i.payload.eq(Value.cast(o.payload).word_select(n, len(writer.i.payload))),
            o.ready.eq(writer.i.ready | ~vector.used),
            writer.command.payload.address.eq(at),
            writer.command.payload.count.eq(host.logits_words),
        ]
        offer(m, writer.command, _starts(parts) & vector.used)


def logits_pending(m: Module, parts: Parts) -> Value:
    """Whether logits of the running pass are not written yet."""
    pending = []
    for n, vector in enumerate(vectors_of(parts.host)):
        left = Signal(name=f"unwritten_logits{n}")
        with m.If(_starts(parts) & vector.used):
            m.d.sync += left.eq(1)
        with m.Elif(parts.writers[of_token("logits", n)].done):
            m.d.sync += left.eq(0)
        pending.append(left)
    return Cat(pending).any()


def _starts(parts: Parts) -> Value:
    """The LM head begins in this cycle."""
    found: Value = parts.sequencer.dispatch & (parts.sequencer.op == Op.HEAD)
    return found
