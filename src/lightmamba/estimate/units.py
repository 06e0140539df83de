"""Units of a running model: those that follow a table of steps, and the special ones.

Each acts once and returns when it wants to act again; a change of its queues may wake it before.
"""

from lightmamba.estimate.jit import kernel
from lightmamba.estimate.memory import states, take_beat, take_word
from lightmamba.estimate.older import FETCH
from lightmamba.estimate.places import EMPTY, HELD, INPUTS, LANE, NEVER, OUTPUTS, QUEUES, UNITS
from lightmamba.estimate.queues import (
    BEATS,
    clear,
    entry,
    give,
    pop,
    push,
    release,
    room,
    wake,
    when,
)
from lightmamba.machine.counters import CYCLES

__all__ = [
    "BUSY", "DRAIN", "ENDING", "OVER", "ends", "epilogue", "lanes", "plain", "record",
    "residual", "router",
]  # fmt: skip

MULTIPLYING, SCALE, WAIT_ACTIVATION, WAIT_MEMORY, WAIT_EPILOGUE, IDLE = range(len(CYCLES))
WAITING, BUSY, ENDING, OVER = range(4)  # what `running` says of the token
IN, OUT, HEAD = range(3)  # kinds of projections
RECORD = 1 + len(CYCLES)  # numbers of a record: the cycle, and the stalls up to it
DRAIN = 4  # cycles from the last result to a token's end
TAKEN = 1  # cycles from a command to a unit that works
Q_PARTS, Q_ROWS, Q_LOGIT = QUEUES["parts"], QUEUES["rows"], QUEUES["logit"]
Q_EMBEDDED, Q_OUT, Q_RESIDUAL, Q_SUM = (
    QUEUES["embedded"], QUEUES["out"], QUEUES["residual"], QUEUES["sum_in"],
)  # fmt: skip
U_LANES, U_EPILOGUE, U_ROUTER = UNITS["lanes"], UNITS["epilogue"], UNITS["router"]
U_RESIDUAL, U_SEQUENCER = UNITS["residual"], UNITS["sequencer"]


@kernel
def plain(m, t, steps, unit, now):
    """One step by the unit's table, when all that it takes is there and all that it gives fits."""
    u = m.units[unit]
    row, ready = u.at + u.step, 0
    for k in range(INPUTS):
        if steps[row, k] >= 0:
            for queue in range(m.inputs[unit, k], m.inputs[unit, k] + m.wide[unit, k]):
                ready = max(ready, when(m, t, queue))
    if ready + u.hold > now:
        return ready + u.hold
    for k in range(OUTPUTS):
        gives, queue = steps[row, INPUTS + k], m.outputs[unit, k]
        if (gives >= 0 and not room(m, queue)) or (gives == EMPTY and m.queues[queue].count):
            return NEVER  # who takes from it wakes the unit
    for k in range(INPUTS):
        for _ in range(steps[row, k]):
            if m.inputs[unit, k] < BEATS:
                pop(m, m.inputs[unit, k], now)
            else:
                first = m.inputs[unit, k] - BEATS
                for reader in range(first, first + m.wide[unit, k]):
                    take_word(m, reader, now)
    for k in range(OUTPUTS):
        gives, queue = steps[row, INPUTS + k], m.outputs[unit, k]
        if gives >= HELD:
            push(m, t, queue, NEVER)
            release(m, t, queue, gives - HELD, now)
        else:
            for _ in range(gives):
                give(m, t, queue, now)
    u.step = u.step + 1 if u.step + 1 < u.steps else 0
    return now + 1


@kernel
def kind(m, job):
    """Kind of a token's n-th projection: in_proj and out_proj in turn, then the LM head."""
    return HEAD if job == 2 * m.sizes.layers else job % 2


@kernel
def waits(m, job, queue, now):
    """First cycle in which a unit can have the command of a projection; never, if not now.

    It takes the next one when its last results have left.
    """
    token = m.token
    if token.running != BUSY or job == 2 * m.sizes.layers + token.headed:
        return NEVER
    return NEVER if m.queues[queue].count else token.begun + (job + 2) * FETCH


@kernel
def account(m, now, reason):
    """Book the cycles since the last time, and say what those from now on go to."""
    m.stalls[m.token.reason] += now - m.token.since
    m.token.since = now
    m.token.reason = reason


@kernel
def record(m, t, place, now):
    """Keep the cycle and the stalls up to it."""
    size = m.sizes
    row = size.records + (m.token.number * (4 * size.layers + 4) + place) * RECORD
    t[row] = now
    for n in range(len(CYCLES)):
        t[row + 1 + n] = m.stalls[n]
    t[row + 1 + m.token.reason] += now - m.token.since


@kernel
def lanes(m, t, now):
    """Use a beat of every lane, or say what is missing."""
    u = m.units[U_LANES]
    if not u.working:
        account(m, now, IDLE)
        begin = waits(m, u.job, Q_PARTS, now)
        if begin > now:
            return begin
        u.working, u.slot, u.part, u.word, u.period, u.second = 1, 0, 0, 0, 0, 0
        return now + TAKEN + 1
    here = 0
    for lane in range(LANE, LANE + m.sizes.lane_readers):
        here = max(here, when(m, t, BEATS + lane))
    if u.period == 0:
        if here > now:
            account(m, now, WAIT_MEMORY)
            return here
        account(m, now, SCALE)
        _use(m, now)
        u.period = m.sizes.period
        return now + 1
    job = m.jobs[kind(m, u.job)]
    if u.slot == 0:
        loaded = entry(m, t, job.vector, u.part * job.words + u.word)
        if loaded > now:
            account(m, now, WAIT_ACTIVATION)
            return loaded
    if here > now:
        account(m, now, WAIT_MEMORY)
        return here
    upper = job.twice and not u.second
    last = u.word + 1 == job.words and not upper
    if last and not room(m, Q_PARTS):
        account(m, now, WAIT_EPILOGUE)
        return NEVER
    account(m, now, MULTIPLYING)
    u.second = upper
    if not upper:
        _use(m, now)
        u.period -= 1
        u.word += 1
    if last:
        give(m, t, Q_PARTS, now)
        u.word = 0
        u.part += 1
        if u.part == job.parts:
            u.part = 0
            u.slot += 1
            _slot(m, t, u, job, now)
    return now + 1


@kernel
def _slot(m, t, u, job, now):
    """Lanes are through with a slot."""
    if u.slot == job.slots:
        u.working = 0
        clear(m, job.vector, now)
        record(m, t, 2 * u.job + 2, now)
        u.job += 1
    elif u.slot == job.slots // 2:
        record(m, t, 2 * u.job + 1, now)


@kernel
def _use(m, now):
    for lane in range(LANE, LANE + m.sizes.lane_readers):
        take_beat(m, lane, now)


@kernel
def epilogue(m, t, now):
    """Issue the rows of one cycle, each part of a slot in its turn."""
    u, size, token = m.units[U_EPILOGUE], m.sizes, m.token
    if not u.working:
        begin = waits(m, u.job, Q_ROWS, now)
        if begin > now:
            return begin
        u.working, u.slot, u.part, u.pair = 1, 0, 0, 0
        u.taking = m.jobs[kind(m, u.job)].parts
        after = token.number + 1
        chained = t[size.chains + token.number] and after < size.passes and t[size.chains + after]
        if u.job == 2 * size.layers - 2 and chained:
            # Room for the head's command: with it, the chained token's state is asked for.
            command = token.begun + (2 * size.layers + 3) * FETCH
            states(m, t, max(now + 4, command))
            token.early = 1
        return now + TAKEN
    job = m.jobs[kind(m, u.job)]
    if u.taking:
        ready = when(m, t, job.norms)
        if ready > now:
            return ready
        pop(m, job.norms, now)
        u.taking -= 1
        return now + 1
    ready = when(m, t, Q_PARTS)
    if ready > now:
        return ready
    if not room(m, Q_ROWS):
        return NEVER
    issued = u.slot * size.lanes + u.pair * size.per_cycle
    if u.part == job.parts - 1 and issued < job.rows:
        give(m, t, Q_ROWS, now)
    u.pair += 1
    if u.pair * size.per_cycle >= size.lanes:
        pop(m, Q_PARTS, now)
        u.pair = 0
        u.part += 1
        if u.part == job.parts:
            u.part = 0
            u.slot += 1
            if u.slot * size.lanes >= job.rows:
                u.working = 0
                u.job += 1
    return now + 1


@kernel
def router(m, t, now):
    """Hand the rows of one cycle to their units: the second too, if it may go with the first."""
    u, size = m.units[U_ROUTER], m.sizes
    ready = when(m, t, Q_ROWS)
    if ready > now:
        return ready
    what = kind(m, u.job)
    job, row, before = m.jobs[what], u.step, u.passed  # a bit for each row
    count = min(size.per_cycle, size.lanes - row % size.lanes, job.rows - row)
    first = _target(m, t, what, row)
    if not before & 1 and room(m, first):
        give(m, t, first, now)
        u.passed |= 1
    if count > 1:
        second = _target(m, t, what, row + 1)
        apart = second != first or before & 1 or what == HEAD  # logits go in pairs
        if not before & 2 and apart and room(m, second):
            give(m, t, second, now)
            u.passed |= 2
    again = now + 1 if u.passed != before else NEVER
    if u.passed == (1 << count) - 1:
        pop(m, Q_ROWS, now)
        u.passed = 0
        u.step += count
        if u.step == job.rows:
            u.step = 0
            u.job += 1
    return again


@kernel
def _target(m, t, what, row):
    """Queue of the unit that a row goes to."""
    if what == IN:
        return t[m.sizes.targets + row]
    return Q_LOGIT if what == HEAD else Q_OUT


@kernel
def residual(m, t, now):
    """Set the stream or add a row; pass it on, and its squares behind the last one."""
    u, size, token = m.units[U_RESIDUAL], m.sizes, m.token
    source = Q_OUT if u.job else Q_EMBEDDED
    ready = when(m, t, source)
    if ready > now:
        return ready
    emit = u.job < size.layers or token.headed
    if emit and not room(m, Q_RESIDUAL):
        return NEVER
    pop(m, source, now)
    if emit:
        give(m, t, Q_RESIDUAL, now)
    u.step += 1
    if u.step == size.d_model:
        u.step = 0
        u.job = (u.job + 1) % (size.layers + 1)
        if emit:
            give(m, t, Q_SUM, now)
        else:
            ends(m, now + m.queues[Q_SUM].latency + DRAIN)
    return now + 1


@kernel
def ends(m, at):
    """The last of a token's work is done."""
    m.token.running = ENDING
    wake(m, U_SEQUENCER, at)
