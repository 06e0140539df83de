"""State and words of a running model on their way between units and beats of memory.

Ports of the state are alike: each carries its part of every word, and they go in step.
"""

from lightmamba.arch.contract import EXPONENT_RUN
from lightmamba.estimate.jit import kernel
from lightmamba.estimate.memory import LOGITS, STATE, store, take_beat, wake_states
from lightmamba.estimate.places import NEVER, QUEUES, READERS, UNITS
from lightmamba.estimate.queues import BEATS, give, pop, room, wake, when
from lightmamba.estimate.units import DRAIN, ends

__all__ = ["packer", "unpacker", "word_writer"]

R_STATE = READERS.index("state")
U_PACKER = UNITS["write_state"]
Q_AHEAD, Q_BEHIND = QUEUES["state_ahead"], QUEUES["state_behind"]
HELD = 3  # cycles from a word that leaves to a reader that sees it
# Commands are for heads: cycles from the last word that leaves the unpacker to the next beat, that
# the packer needs between two heads, from a command to the next reader's.
UNPACKED, PACKED, NEXT = 4, 3, 7


@kernel
def unpacker(m, t, now):
    """Beats to words of state; a beat of exponents before every 32 of elements."""
    u, size = m.packing, m.sizes
    if u.begin > now:
        return u.begin
    if u.have:
        if not room(m, Q_AHEAD):
            return NEVER
        give(m, t, Q_AHEAD, now)
        u.have -= 1
        if u.have == 0 and u.words == 0:
            u.parts += 1
            u.begin = now + UNPACKED
            wake_states(m, now + NEXT)
            return u.begin
    if u.have == 0:
        ready = 0
        for reader in range(R_STATE, R_STATE + size.state_ports):
            ready = max(ready, when(m, t, BEATS + reader))
        if ready > now:
            return ready
        for reader in range(R_STATE, R_STATE + size.state_ports):
            take_beat(m, reader, now)
        if u.period == 0:
            u.period = EXPONENT_RUN
        else:
            u.period -= 1
            u.part += 1
        if u.part == size.word_beats:
            u.part = 0
            u.have = min(size.beat_words, size.state_words - u.words)
            u.words += u.have
            if u.words == size.state_words:
                u.words, u.period = 0, 0
    return now + 1


@kernel
def packer(m, t, now):
    """Words of state to beats; those of 32 beats wait for their exponents."""
    u, size, room = m.packing, m.sizes, True
    for n in range(STATE, STATE + size.state_ports):
        room = room and m.writers[n].stored < m.writers[n].depth
    if (u.sending or u.held) and room:
        if u.sending:
            u.sending -= 1
            u.beats -= 1
        else:
            u.sending, u.held = u.held, 0
        for n in range(STATE, STATE + size.state_ports):
            store(m, n, now)
        wake(m, U_PACKER, now + 1)
    ready = max(when(m, t, Q_BEHIND), u.next)
    if ready > now:
        return ready
    beats, last = size.word_beats, u.sent + 1 == size.state_words
    closes = u.grouped + beats >= EXPONENT_RUN or last
    if u.beats + beats > 2 * EXPONENT_RUN or (closes and u.held):
        return NEVER
    pop(m, Q_BEHIND, now)
    wake_states(m, now + HELD)
    u.next = now + beats
    if last:
        u.next += PACKED
    u.filled += 1
    u.sent = 0 if last else u.sent + 1
    if u.filled == size.beat_words or last:
        u.filled = 0
        u.beats += beats
        u.grouped += beats
        if u.grouped == EXPONENT_RUN or last:
            u.held, u.grouped = u.grouped, 0
    return u.next


@kernel
def word_writer(m, t, queue, writer, now):
    """Words to beats, for all writers side by side; the last one of a command ends its beat."""
    w, ready = m.writers[writer], when(m, t, queue)
    if ready > now:
        return ready
    for n in range(writer, writer + w.wide):
        if m.writers[n].stored >= w.depth:
            return NEVER
    pop(m, queue, now)
    w.part += 1
    w.count += 1
    last = w.count == w.words
    if w.part == w.per_beat or last:
        w.part = 0
        for n in range(writer, writer + w.wide):
            store(m, n, now)
    if last:
        w.count = 0
        if writer == LOGITS:  # nothing of the token comes after its logits
            ends(m, now + DRAIN)
    return now + 1
