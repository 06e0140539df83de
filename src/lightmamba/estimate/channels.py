"""Memory of a running model: channels as in sim/memory.hpp, ports, readers and writers."""

from lightmamba.estimate import places as p
from lightmamba.estimate.jit import kernel
from lightmamba.estimate.queues import push, wake, when

__all__ = [
    "channel", "command", "read_port", "states", "store", "take_beat", "take_word", "word_when",
    "write_port",
]  # fmt: skip


@kernel
def command(a, t, reader, beats, at, copy):
    """Tell a reader to read so many beats, not before ``at``, of one of the state's copies."""
    row = p.READER_TABLE + reader * p.R_SIZE
    place = (a[row + p.R_FIRST] + a[row + p.R_COMMANDS]) % p.COMMAND_RING
    ring = p.COMMANDS + (reader * p.COMMAND_RING + place) * p.COMMAND
    t[ring], t[ring + 1], t[ring + 2] = beats, at, copy
    a[row + p.R_COMMANDS] += 1
    wake(a, a[p.U_READ] + a[row + p.R_PORT], at)


@kernel
def states(a, t, at):
    """Ask for the state of every layer, and owe its writes."""
    first = a[p.LANE_READERS]
    for name in (p.STATE, p.CONV_READ):
        writer = p.STATE_WRITER if name == p.STATE else p.CONV_WRITER
        row = p.WRITER_TABLE + writer * p.W_SIZE
        beats = a[p.READER_TABLE + (first + name) * p.R_SIZE + p.R_SEGMENT]
        for _ in range(a[p.LAYERS]):
            command(a, t, first + name, beats, at, a[p.COPY])
            a[row + p.W_DUE] += a[row + p.W_COMMAND]
    a[p.COPY] ^= 1


@kernel
def state_words(a, t, now):
    """Words of state that wait before and behind the SSM; not those that are in it."""
    ahead, behind = p.QUEUE_TABLE + p.AHEAD * p.Q_SIZE, p.QUEUE_TABLE + p.BEHIND * p.Q_SIZE
    ring, mask, head = a[behind + p.Q_RING], a[behind + p.Q_MASK], a[behind + p.Q_HEAD]
    stored = a[behind + p.Q_COUNT]
    while stored and t[ring + ((head + stored - 1) & mask)] > now + a[p.T_QUEUE]:
        stored -= 1
    return a[ahead + p.Q_COUNT] + stored


@kernel
def _place(a, port, copy):
    """Channel of a port where this copy of the state lies."""
    return a[port + (p.P_OTHER if copy else p.P_CHANNEL)]


@kernel
def _burst(a, t, reader, now):
    """Beats of the burst that a reader asks for in this cycle, or 0; the room is reserved."""
    row = p.READER_TABLE + reader * p.R_SIZE
    unit = a[p.U_READ] + a[row + p.R_PORT]
    if a[row + p.R_LEFT] == 0:
        if a[row + p.R_COMMANDS] == 0 or a[row + p.R_CREDIT] == 0:
            return 0
        place = a[row + p.R_FIRST] % p.COMMAND_RING
        ring = p.COMMANDS + (reader * p.COMMAND_RING + place) * p.COMMAND
        if t[ring + 1] > now:
            wake(a, unit, t[ring + 1])
            return 0
        a[row + p.R_FIRST] += 1
        a[row + p.R_COMMANDS] -= 1
        a[row + p.R_CREDIT] -= 1
        a[row + p.R_LEFT], a[row + p.R_COPY] = t[ring], t[ring + 2]
        a[row + p.R_READY] = now + a[p.T_COMMAND]
    if a[row + p.R_READY] > now:
        wake(a, unit, a[row + p.R_READY])
        return 0
    beats = min(a[row + p.R_BURST], a[row + p.R_LEFT])
    if a[row + p.R_FREE] < beats:
        return 0
    port = p.PORT_TABLE + a[row + p.R_PORT] * p.P_SIZE
    if _place(a, port, a[row + p.R_COPY]) != a[port + p.P_FROM] and a[port + p.P_OPEN]:
        return 0  # one channel at a time; the last beat wakes it
    if reader == a[p.LANE_READERS] + p.STATE and state_words(a, t, now) > a[p.STATE_FIFO]:
        return 0  # the packer wakes it
    a[row + p.R_FREE] -= beats
    a[row + p.R_LEFT] -= beats
    return beats


@kernel
def _request(a, t, place, client, beats, at):
    """Put a burst behind those that a channel has."""
    row = p.CHANNEL_TABLE + place * p.C_SIZE
    slot = (a[row + p.C_HEAD] + a[row + p.C_COUNT]) % p.REQUEST_RING
    ring = a[row + p.C_RING] + slot * p.REQUEST
    t[ring], t[ring + 1], t[ring + 2] = client, beats, at
    a[row + p.C_COUNT] += 1
    wake(a, p.U_CHANNEL + place, at)


@kernel
def read_port(a, t, port, now):
    """Send one address: clients take turns."""
    row = p.PORT_TABLE + port * p.P_SIZE
    if a[row + p.P_ASK] > now:
        wake(a, a[p.U_READ] + port, a[row + p.P_ASK])
        return
    if a[row + p.P_OPEN] >= a[row + p.P_MOST]:
        return
    clients = p.CLIENTS + port * (p.READERS + 1)
    count = t[clients]
    for k in range(count):
        turn = (a[row + p.P_TURN] + 1 + k) % count
        reader = t[clients + 1 + turn]
        beats = _burst(a, t, reader, now)
        if beats > 0:
            copy = a[p.READER_TABLE + reader * p.R_SIZE + p.R_COPY]
            a[row + p.P_FROM] = place = _place(a, row, copy)
            latency = a[p.CHANNEL_TABLE + place * p.C_SIZE + p.C_LATENCY]
            delay = a[p.T_READ] + (2 if count > 1 else 0)
            _request(a, t, place, reader, beats, now + delay + latency)
            a[row + p.P_TURN] = turn
            a[row + p.P_ASK] = now + 1
            a[row + p.P_OPEN] += 1
            wake(a, a[p.U_READ] + port, now + 1)
            return


@kernel
def _stands_still(a, row, cycle):
    """Cycles of refresh before this one."""
    shifted = cycle + a[row + p.C_PHASE]
    every, pause = a[row + p.C_EVERY], a[row + p.C_PAUSE]
    return shifted // every * pause + min(shifted % every, pause)


@kernel
def channel(a, t, place, now):
    """Serve as many beats as the credit allows, in the order of the requests."""
    row = p.CHANNEL_TABLE + place * p.C_SIZE
    if now < a[row + p.C_TURNED]:
        wake(a, p.U_CHANNEL + place, a[row + p.C_TURNED])
        return
    rate = a[row + p.C_RATE]
    before = a[row + p.C_TIME]
    passed = now - before
    if a[row + p.C_EVERY]:
        passed -= _stands_still(a, row, now + 1) - _stands_still(a, row, before + 1)
    a[row + p.C_TIME] = now
    a[row + p.C_CREDIT] = min(a[row + p.C_CREDIT] + passed * rate, a[row + p.C_LIMIT])
    unit = p.U_CHANNEL + place
    if a[row + p.C_EVERY]:
        turn = (now + a[row + p.C_PHASE]) % a[row + p.C_EVERY]
        if turn < a[row + p.C_PAUSE]:
            wake(a, unit, now + a[row + p.C_PAUSE] - turn)
            return
    while a[row + p.C_COUNT]:
        slot = a[row + p.C_HEAD] % p.REQUEST_RING
        ring = a[row + p.C_RING] + slot * p.REQUEST
        if t[ring + 2] > now:
            wake(a, unit, t[ring + 2])
            return
        client = t[ring]
        if (client < 0) != a[row + p.C_WRITING]:
            a[row + p.C_WRITING] = client < 0
            if a[row + p.C_TURN]:
                a[row + p.C_TURNED] = now + a[row + p.C_TURN]
                a[row + p.C_CREDIT], a[row + p.C_TIME] = 0, a[row + p.C_TURNED] - 1
                wake(a, unit, a[row + p.C_TURNED])
                return
        table = p.READER_TABLE + client * p.R_SIZE + p.R_PORT
        if client < 0:
            table = p.WRITER_TABLE + (-1 - client) * p.W_SIZE + p.W_PORT
        port = p.PORT_TABLE + a[table] * p.P_SIZE
        missing = a[row + p.C_COST] * a[port + p.P_BYTES] - a[row + p.C_CREDIT]
        if missing > 0:
            wake(a, unit, now + (missing + rate - 1) // rate)
            return
        a[row + p.C_CREDIT] = -missing
        t[ring + 1] -= 1
        if t[ring + 1] == 0:
            a[row + p.C_HEAD] += 1
            a[row + p.C_COUNT] -= 1
        if client < 0:
            _written(a, -1 - client, t[ring + 1] == 0, now)
        else:
            # The port brings a beat per cycle, at most.
            moment = max(now * p.FINE, a[port + p.P_LAST] + a[port + p.P_STEP])
            a[port + p.P_LAST] = moment
            arrives = (moment + p.FINE - 1) // p.FINE
            delay = a[p.READER_TABLE + client * p.R_SIZE + p.R_DELAY]
            push(a, t, p.BEATS + client, arrives + delay)
            if t[ring + 1] == 0:
                a[port + p.P_OPEN] -= 1
                wake(a, a[p.U_READ] + a[table], arrives + 1)


@kernel
def _written(a, writer, last, now):
    """A beat is in memory; when it is the last one of a command, the reader may have it."""
    row = p.WRITER_TABLE + writer * p.W_SIZE
    a[row + p.W_DONE] += 1
    if last:
        a[row + p.W_OPEN] -= 1
        wake(a, a[p.U_WRITE] + a[row + p.W_PORT], now + 1)
    if a[row + p.W_DONE] % a[row + p.W_COMMAND] == 0:
        reader = a[row + p.W_READER]
        if reader >= 0:
            table = p.READER_TABLE + reader * p.R_SIZE
            a[table + p.R_CREDIT] += 1
            wake(a, a[p.U_READ] + a[table + p.R_PORT], now + 3)
        wake(a, p.U_SEQUENCER, now + 2)


@kernel
def take_beat(a, reader, now):
    """Take the oldest beat of a reader, which frees its room."""
    queue = p.QUEUE_TABLE + (p.BEATS + reader) * p.Q_SIZE
    a[queue + p.Q_HEAD] += 1
    a[queue + p.Q_COUNT] -= 1
    row = p.READER_TABLE + reader * p.R_SIZE
    a[row + p.R_FREE] += 1
    free = a[row + p.R_FREE]
    if free >= a[row + p.R_BURST] or (a[row + p.R_LEFT] and free >= a[row + p.R_LEFT]):
        wake(a, a[p.U_READ] + a[row + p.R_PORT], now + 1)


@kernel
def word_when(a, t, reader):
    """First cycle in which a reader's next word may be taken."""
    if a[p.READER_TABLE + reader * p.R_SIZE + p.R_HAVE]:
        return 0
    return when(a, t, p.BEATS + reader)


@kernel
def take_word(a, reader, now):
    """Take a word; the next segment begins with a new beat."""
    row = p.READER_TABLE + reader * p.R_SIZE
    if a[row + p.R_HAVE] == 0:
        take_beat(a, reader, now)
        a[row + p.R_HAVE] = min(a[row + p.R_PER_BEAT], a[row + p.R_WORDS] - a[row + p.R_COUNT])
    a[row + p.R_HAVE] -= 1
    a[row + p.R_COUNT] += 1
    if a[row + p.R_COUNT] == a[row + p.R_WORDS]:
        a[row + p.R_COUNT] = 0


@kernel
def store(a, writer, now):
    """Give a writer a beat."""
    row = p.WRITER_TABLE + writer * p.W_SIZE
    a[row + p.W_STORED] += 1
    if a[row + p.W_STORED] >= min(a[row + p.W_BURST], a[row + p.W_LEFT]):
        wake(a, a[p.U_WRITE] + a[row + p.W_PORT], now + 1)


@kernel
def write_port(a, t, port, now):
    """Bring one burst after the other to the channel, each when all of it is there."""
    row = p.PORT_TABLE + port * p.P_SIZE
    unit = a[p.U_WRITE] + port
    if a[row + p.P_WRITER] >= 0:
        done = (a[row + p.P_FINISH] + p.FINE - 1) // p.FINE
        if done > now:
            wake(a, unit, done)
            return
        place = a[row + p.P_INTO]
        latency = a[p.CHANNEL_TABLE + place * p.C_SIZE + p.C_LATENCY]
        _request(a, t, place, -1 - a[row + p.P_WRITER], a[row + p.P_BEATS], now + latency)
        a[row + p.P_WRITER] = -1
    for k in range(p.WRITERS):
        writer = (a[row + p.P_WRITE_TURN] + 1 + k) % p.WRITERS
        table = p.WRITER_TABLE + writer * p.W_SIZE
        beats = min(a[table + p.W_BURST], a[table + p.W_LEFT])
        mine = a[table + p.W_PORT] == port and a[table + p.W_OPEN] < a[table + p.W_MOST]
        place = _place(a, row, a[table + p.W_COPY])
        if place != a[row + p.P_INTO] and a[table + p.W_OPEN]:
            mine = False  # one channel at a time; the last answer wakes it
        if mine and a[table + p.W_STORED] >= beats:
            begin = max((now + a[p.T_WRITE]) * p.FINE, a[row + p.P_FINISH])
            a[row + p.P_FINISH] = begin + beats * a[row + p.P_STEP]
            a[row + p.P_WRITER], a[row + p.P_BEATS] = writer, beats
            a[row + p.P_INTO] = place
            a[row + p.P_WRITE_TURN] = writer
            a[table + p.W_STORED] -= beats
            a[table + p.W_OPEN] += 1
            a[table + p.W_LEFT] -= beats
            if a[table + p.W_LEFT] == 0:
                a[table + p.W_LEFT] = a[table + p.W_COMMAND]
                a[table + p.W_LAYER] += 1
                if a[table + p.W_LAYER] == a[p.LAYERS]:  # the next token writes the other copy
                    a[table + p.W_LAYER] = 0
                    a[table + p.W_COPY] ^= 1
            wake(a, p.U_PACKER + writer, now + 1)
            wake(a, unit, (a[row + p.P_FINISH] + p.FINE - 1) // p.FINE)
            return
