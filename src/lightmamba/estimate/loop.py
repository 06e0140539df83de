"""The clock of a running model: from each cycle in which something happens to the next."""

from lightmamba.estimate import memory, packing, units
from lightmamba.estimate.jit import kernel
from lightmamba.estimate.older import FETCH, STATIC
from lightmamba.estimate.places import LANE, NEVER, QUEUES, READERS, UNITS, WRITERS, WRITTEN
from lightmamba.estimate.queues import wake
from lightmamba.estimate.units import BUSY, ENDING, OVER

__all__ = ["run"]

U_SEQUENCER, U_UNPACKER, U_CHANNEL = UNITS["sequencer"], UNITS["unpacker"], len(UNITS)
U_LANES, U_EPILOGUE = UNITS["lanes"], UNITS["epilogue"]
U_ROUTER, U_RESIDUAL = UNITS["router"], UNITS["residual"]
U_PACKER, U_CONV, U_LOGITS, U_RECORD = (UNITS[f"write_{name}"] for name in WRITTEN)
Q_CONV, Q_LOGITS, Q_RECORD = QUEUES["conv_written"], QUEUES["logits"], QUEUES["recorded"]
EMBEDDING = READERS.index("embedding")
R_STATIC = tuple(READERS.index(name) for name in STATIC)


@kernel
def run(models, t, steps):
    """Run all tokens; whether they came to an end (else everything waits for something)."""
    m = models[0]
    end = m.sizes.end
    _prefetch(m, t, 0)
    while m.token.running != OVER:
        now = NEVER
        for unit in range(end):
            now = min(now, m.units[unit].wake)
        if now == NEVER:
            return False
        for unit in range(end):
            if m.units[unit].wake <= now:
                m.units[unit].wake = NEVER
                wake(m, unit, _act(m, t, steps, unit, now))
    return True


@kernel
def _act(m, t, steps, unit, now):
    """One unit's part of a cycle; when it wants to act again."""
    size = m.sizes
    if unit >= size.write:
        return memory.write_port(m, t, unit - size.write, now)
    if unit >= size.read:
        return memory.read_port(m, t, unit - size.read, now)
    if unit >= U_CHANNEL:
        return memory.channel(m, t, unit - U_CHANNEL, now)
    if unit == U_LANES:
        return units.lanes(m, t, now)
    if unit == U_EPILOGUE:
        return units.epilogue(m, t, now)
    if unit == U_ROUTER:
        return units.router(m, t, now)
    if unit == U_RESIDUAL:
        return units.residual(m, t, now)
    if unit == U_UNPACKER:
        return packing.unpacker(m, t, now)
    if unit == U_PACKER:
        return packing.packer(m, t, now)
    if unit == U_CONV:
        return packing.word_writer(m, t, Q_CONV, memory.CONV, now)
    if unit == U_LOGITS:
        return packing.word_writer(m, t, Q_LOGITS, memory.LOGITS, now)
    if unit == U_RECORD:
        return packing.word_writer(m, t, Q_RECORD, memory.RECORD, now)
    if unit == U_SEQUENCER:
        return _sequencer(m, t, now)
    return units.plain(m, t, steps, unit, now)


@kernel
def _sequencer(m, t, now):
    """End a token, when all its work is done, and begin the next."""
    token, size = m.token, m.sizes
    if token.running == BUSY:
        return NEVER
    if token.running == ENDING:
        if not t[size.chains + token.number]:  # else the next one waits for no answer
            for n in range(len(WRITERS)):
                if m.writers[n].done < m.writers[n].due:
                    return NEVER
        units.record(m, t, 4 * size.layers + 3, now)
        token.number += 1
        if token.number == size.passes:
            token.running = OVER
            return NEVER
    token.running, token.begun = BUSY, now
    token.headed = t[size.heads + token.number]
    for unit in (U_LANES, U_EPILOGUE, U_ROUTER):
        m.units[unit].job = 0
    units.record(m, t, 0, now)
    if token.headed:
        for lane in range(LANE, LANE + size.lane_readers):
            memory.command(m, t, lane, size.head_beats, now + 2, 0, 1)
        for n in range(memory.LOGITS, memory.LOGITS + m.writers[memory.LOGITS].wide):
            m.writers[n].due += m.writers[n].command
    _prefetch(m, t, now + 2)
    if not token.early:
        memory.states(m, t, now + 2)
    token.early = 0
    for n in range(EMBEDDING, EMBEDDING + size.vectors):
        memory.command(m, t, n, m.readers[n].segment, now + FETCH + 1, 0, 1)
    wake(m, U_LANES, now + 1)
    wake(m, U_EPILOGUE, now + 1)
    return NEVER


@kernel
def _prefetch(m, t, at):
    """Ask for what is the same for every token: weights and parameters of the next one."""
    for lane in range(LANE, LANE + m.sizes.lane_readers):
        memory.command(m, t, lane, m.readers[lane].segment, at, 0, 1)
    for reader in R_STATIC:
        memory.command(m, t, reader, m.readers[reader].segment, at, 0, 1)
