"""Memory of a running model: channels as in sim/memory.hpp, ports, readers and writers."""

from lightmamba.arch.latency import QUEUE, READER, STATE_HEADS, WRITER
from lightmamba.estimate.jit import kernel
from lightmamba.estimate.older import RECORD as RECORDED
from lightmamba.estimate.places import (
    COMMAND_RING,
    FINE,
    LANE,
    NEVER,
    QUEUES,
    READERS,
    REQUEST_RING,
    UNITS,
)
from lightmamba.estimate.places import WRITERS as NAMES
from lightmamba.estimate.queues import BEATS, entry, push, wake
from lightmamba.machine.registers import MOST_STATE_PORTS

__all__ = [
    "CONV", "LOGITS", "RECORD", "STATE", "channel", "command", "read_port", "states", "store",
    "take_beat", "take_word", "wake_states", "write_port",
]  # fmt: skip

# Writers: the first of each kind.
STATE, CONV, LOGITS, RECORD = (
    NAMES.index(name) for name in ("state", "conv_state", "logits", RECORDED)
)
R_STATE = READERS.index("state")
R_STATES = R_STATE + MOST_STATE_PORTS  # the first reader behind those of the state
U_SEQUENCER, U_CHANNEL = UNITS["sequencer"], len(UNITS)
Q_AHEAD, Q_BEHIND = QUEUES["state_ahead"], QUEUES["state_behind"]
ADDRESS, ARBITER, ANSWER = 1, 2, 3  # cycles of an address, behind an arbiter; of an answer
WALK = 3  # cycles by which commands for heads come later than those for a layer
AHEAD = 1 + STATE_HEADS  # heads that the reader may have a command for before the unpacker has it


@kernel
def command(m, t, reader, beats, at, copy, times):
    """Make a reader read ``beats`` beats, ``times`` times, from ``at`` on; of a state's copy."""
    r = m.readers[reader]
    place = r.ring + (r.first + r.commands) % COMMAND_RING * 4
    t[place], t[place + 1], t[place + 2], t[place + 3] = beats, at, copy, times
    r.commands += 1
    wake(m, m.sizes.read + r.port, at)


@kernel
def states(m, t, at):
    """Ask for what a pass reads layer by layer, or head by head; owe its writes."""
    for reader in range(LANE):
        r = m.readers[reader]
        if r.each:
            late = WALK if reader < R_STATES else 0
            command(m, t, reader, r.segment, at + late, m.token.bank, r.each)
    for writer in range(len(NAMES)):
        m.writers[writer].due += m.writers[writer].each * m.writers[writer].command
    m.token.bank ^= 1


@kernel
def wake_states(m, at):
    """Let the readers of the state ask."""
    for reader in range(R_STATE, R_STATE + m.sizes.state_ports):
        wake(m, m.sizes.read + m.readers[reader].port, at)


@kernel
def _waiting(m, t, now):
    """Words of state that wait in the queues before and behind the SSM; not those that are in it.

    Where the queue behind is full, results wait in that at the end of its pipeline.
    """
    stored = m.queues[Q_BEHIND].count
    while stored and entry(m, t, Q_BEHIND, stored - 1) > now + QUEUE:
        stored -= 1
    return m.queues[Q_AHEAD].count + min(stored, m.sizes.state_fifo)


@kernel
def _place(port, copy):
    """Channel of a port where this copy of the state lies."""
    return port.other if copy else port.channel


@kernel
def _burst(m, t, reader, now):
    """Beats of the burst that a reader asks for in this cycle, or 0; the room is reserved."""
    r = m.readers[reader]
    unit, port = m.sizes.read + r.port, m.ports[r.port]
    if r.left == 0:
        if r.commands == 0 or r.credit == 0:
            return 0
        if reader < R_STATES and r.begun > m.packing.parts + AHEAD:
            return 0  # the unpacker wakes it
        place = r.ring + r.first % COMMAND_RING * 4
        if t[place + 1] > now:
            wake(m, unit, t[place + 1])
            return 0
        t[place + 3] -= 1
        if t[place + 3] == 0:
            r.first += 1
            r.commands -= 1
        r.credit -= 1
        r.begun += 1
        r.left, r.bank, r.ready = t[place], t[place + 2], now + READER
    if r.ready > now:
        wake(m, unit, r.ready)
        return 0
    beats = min(r.burst, r.left)
    if r.free < beats:
        return 0
    if _place(port, r.bank) != port.origin and port.open:
        return 0  # one channel at a time; the last beat wakes it
    if reader < R_STATES and _waiting(m, t, now) > m.sizes.state_fifo:
        return 0  # the packer wakes it
    r.free -= beats
    r.left -= beats
    return beats


@kernel
def _request(m, t, place, client, beats, at):
    """Put a burst behind those that come to a channel before it, or with it."""
    c = m.channels[place]
    slot, behind = c.ring + (c.head + c.count) % REQUEST_RING * 3, c.count
    while behind:  # an address may be on its way to the channel for longer
        before = c.ring + (c.head + behind - 1) % REQUEST_RING * 3
        if t[before + 2] <= at:
            break
        t[slot], t[slot + 1], t[slot + 2] = t[before], t[before + 1], t[before + 2]
        slot, behind = before, behind - 1
    t[slot], t[slot + 1], t[slot + 2] = client, beats, at
    c.count += 1
    wake(m, U_CHANNEL + place, at)


@kernel
def read_port(m, t, number, now):
    """Send one address: clients take turns."""
    port = m.ports[number]
    if port.ask > now:
        return port.ask
    if port.open < port.most:
        for k in range(port.count):
            turn = (port.turn + 1 + k) % port.count
            reader = t[port.clients + turn]
            beats = _burst(m, t, reader, now)
            if beats > 0:
                port.origin = _place(port, m.readers[reader].bank)
                delay = ADDRESS + (ARBITER if port.count > 1 else 0)
                latency = m.channels[port.origin].latency
                _request(m, t, port.origin, reader, beats, now + delay + latency)
                port.turn, port.ask = turn, now + 1
                port.open += 1
                return now + 1
    return NEVER


@kernel
def _stands_still(c, cycle):
    """Cycles of refresh before this one."""
    shifted = cycle + c.phase
    return shifted // c.every * c.pause + min(shifted % c.every, c.pause)


@kernel
def channel(m, t, place, now):
    """Serve as many beats as the credit allows, in the order of the requests."""
    c = m.channels[place]
    if now < c.turned:
        return c.turned
    passed = now - c.time
    if c.every:
        passed -= _stands_still(c, now + 1) - _stands_still(c, c.time + 1)
    c.time = now
    c.credit = min(c.credit + passed * c.rate, c.limit)
    if c.every and (now + c.phase) % c.every < c.pause:
        return now + c.pause - (now + c.phase) % c.every
    while c.count:
        slot = c.ring + c.head % REQUEST_RING * 3
        if t[slot + 2] > now:
            return t[slot + 2]
        client = t[slot]
        if (client < 0) != c.writing:
            c.writing = client < 0
            if c.turn:
                c.turned = now + c.turn
                c.credit, c.time = 0, c.turned - 1
                return c.turned
        number = m.writers[-1 - client].port if client < 0 else m.readers[client].port
        port = m.ports[number]
        missing = c.cost * port.bytes - c.credit
        if missing > 0:
            return now + (missing + c.rate - 1) // c.rate
        c.credit = -missing
        t[slot + 1] -= 1
        last = t[slot + 1] == 0
        if last:
            c.head += 1
            c.count -= 1
        if client < 0:
            _written(m, m.writers[-1 - client], last, now)
            continue
        port.last = max(now * FINE, port.last + port.step)  # a beat per cycle, at most
        arrives = (port.last + FINE - 1) // FINE
        push(m, t, BEATS + client, arrives + m.readers[client].delay)
        if last:
            port.open -= 1
            wake(m, m.sizes.read + number, arrives + 1)
    return NEVER


@kernel
def _written(m, w, last, now):
    """A beat is in memory; when it is the last one of a command, the reader may have it."""
    w.done += 1
    if last:
        if w.open == w.most:  # its next address waits for this answer
            w.whole = max(w.whole, now + 1)
        w.open -= 1
        wake(m, m.sizes.write + w.port, now + 1)
    if w.done % w.command == 0:
        if w.reader >= 0:
            m.readers[w.reader].credit += 1
            wake(m, m.sizes.read + m.readers[w.reader].port, now + ANSWER)
        wake(m, U_SEQUENCER, now + ANSWER - 1)


@kernel
def take_beat(m, reader, now):
    """Take the oldest beat of a reader, which frees its room."""
    q, r = m.queues[BEATS + reader], m.readers[reader]
    q.head += 1
    q.count -= 1
    r.free += 1
    if r.free >= r.burst or (r.left and r.free >= r.left):
        wake(m, m.sizes.read + r.port, now + 1)


@kernel
def take_word(m, reader, now):
    """Take a word; the next segment begins with a new beat."""
    r = m.readers[reader]
    if r.have == 0:
        take_beat(m, reader, now)
        r.have = min(r.per_beat, r.words - r.count)
    r.have -= 1
    r.count = (r.count + 1) % r.words


@kernel
def store(m, writer, now):
    """Give a writer a beat."""
    w = m.writers[writer]
    w.stored += 1
    if w.stored == min(w.burst, w.left):
        w.whole = now + 1
        wake(m, m.sizes.write + w.port, now + 1)


@kernel
def write_port(m, t, number, now):
    """Bring one burst after the other to the channel, each when all of it is there."""
    port = m.ports[number]
    if port.writer >= 0:
        done = (port.finish + FINE - 1) // FINE
        if done > now:
            return done
        latency = m.channels[port.into].latency
        _request(m, t, port.into, -1 - port.writer, port.beats, now + latency)
        port.writer = -1
    for k in range(len(NAMES)):
        writer = (port.write_turn + 1 + k) % len(NAMES)
        w = m.writers[writer]
        beats, place = min(w.burst, w.left), _place(port, w.bank)
        mine = w.port == number and w.open < w.most and w.stored >= beats
        if mine and (place == port.into or not w.open):  # one channel at a time
            # Its address went out while data of others passed.
            begin = max((w.whole + WRITER) * FINE, port.finish)
            port.finish = begin + beats * port.step
            port.writer, port.beats, port.into, port.write_turn = writer, beats, place, writer
            w.stored -= beats
            w.open += 1
            w.left -= beats
            if w.left == 0:
                w.left = w.command
                w.layer += 1
                if w.layer == w.each:  # the next token writes the other copy
                    w.layer = 0
                    w.bank ^= 1
            wake(m, w.unit, now + 1)
            return max(now, (port.finish + FINE - 1) // FINE)
    return NEVER
