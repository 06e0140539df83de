"""Lanes, epilogue and residual stream of a running model: from beats to rows, and round again."""

from lightmamba.estimate import places as p
from lightmamba.estimate.channels import states, take_beat, take_word, word_when
from lightmamba.estimate.jit import kernel
from lightmamba.estimate.queues import clear, entry, pop, push, release, room, wake, when

__all__ = [
    "block_unit", "embed", "epilogue", "head", "lanes", "record", "residual", "rms", "router",
    "words_in",
]  # fmt: skip

ROWS_OF_IN, ROWS_OF_OUT, ROWS_OF_HEAD = range(3)


@kernel
def kind_of_job(a, job):
    """What a token's projection is: in_proj and out_proj by turns, the head behind them."""
    return ROWS_OF_HEAD if job == 2 * a[p.LAYERS] else job % 2


@kernel
def jobs(a):
    """Projections of the running token."""
    return 2 * a[p.LAYERS] + a[p.HEADED]


@kernel
def _rows(a, kind):
    if kind == ROWS_OF_IN:
        return a[p.IN_ROWS]
    return a[p.D_MODEL] if kind == ROWS_OF_OUT else a[p.VOCAB]


@kernel
def _starts(a, job):
    """First cycle in which a unit can have the command of a projection."""
    return a[p.BEGUN] + (job + 2) * a[p.T_FETCH]


@kernel
def chained(a, t):
    """Whether another token follows the running one without the host in between."""
    return a[p.HEADED] and a[p.TOKEN] + 1 < a[p.TOKENS] and t[a[p.PLAN] + a[p.TOKEN] + 1]


@kernel
def _account(a, now, reason):
    """Book the cycles since the last time, and say what those from now on go to."""
    a[p.STALLS + a[p.L_REASON]] += now - a[p.L_SINCE]
    a[p.L_SINCE] = now
    a[p.L_REASON] = reason


@kernel
def lanes(a, t, now):
    """Use a beat of every lane, or say what is missing."""
    if not a[p.L_WORKING]:
        _account(a, now, p.IDLE)
        if a[p.RUNNING] != p.BUSY or a[p.L_JOB] == jobs(a):
            return
        if a[p.QUEUE_TABLE + p.PARTS * p.Q_SIZE + p.Q_COUNT]:
            return
        begin = _starts(a, a[p.L_JOB])
        if begin <= now:
            a[p.L_WORKING], a[p.L_SLOT], a[p.L_PART], a[p.L_WORD] = 1, 0, 0, 0
            a[p.L_PERIOD], a[p.L_SECOND] = 0, 0
            begin = now + 2
        wake(a, p.U_LANES, begin)
        return
    here = 0
    for lane in range(a[p.LANE_READERS]):
        here = max(here, when(a, t, p.BEATS + lane))
    if a[p.L_PERIOD] == 0:
        if here > now:
            _account(a, now, p.WAIT_MEMORY)
            wake(a, p.U_LANES, here)
            return
        _account(a, now, p.SCALE)
        _use(a, now)
        a[p.L_PERIOD] = a[p.PERIOD]
        wake(a, p.U_LANES, now + 1)
        return
    kind = kind_of_job(a, a[p.L_JOB])
    gated = kind == ROWS_OF_OUT
    parts = a[p.GROUPS] if gated else 1
    words = (a[p.OUT_WORDS] if gated else a[p.IN_WORDS]) // parts
    vector = p.WORDS_OUT if gated else p.WORDS_IN
    if a[p.L_SLOT] == 0:
        loaded = entry(a, t, vector, a[p.L_PART] * words + a[p.L_WORD])
        if loaded > now:
            _account(a, now, p.WAIT_ACTIVATION)
            wake(a, p.U_LANES, loaded)
            return
    if here > now:
        _account(a, now, p.WAIT_MEMORY)
        wake(a, p.U_LANES, here)
        return
    twice = kind == ROWS_OF_HEAD and a[p.TWICE]
    upper = twice and not a[p.L_SECOND]
    last = a[p.L_WORD] + 1 == words and not upper
    if last and not room(a, p.PARTS):
        _account(a, now, p.WAIT_EPILOGUE)
        return
    _account(a, now, p.MULTIPLYING)
    wake(a, p.U_LANES, now + 1)
    a[p.L_SECOND] = upper
    if upper:
        return
    _use(a, now)
    a[p.L_PERIOD] -= 1
    a[p.L_WORD] += 1
    if not last:
        return
    push(a, t, p.PARTS, now + a[p.T_LANES])
    a[p.L_WORD] = 0
    a[p.L_PART] += 1
    if a[p.L_PART] == parts:
        a[p.L_PART] = 0
        a[p.L_SLOT] += 1
        slots = -(-_rows(a, kind) // a[p.LANES])
        if a[p.L_SLOT] == slots:
            a[p.L_WORKING] = 0
            clear(a, vector, now)
            record(a, t, 2 * a[p.L_JOB] + 2, now)
            a[p.L_JOB] += 1
        elif a[p.L_SLOT] == slots // 2:
            record(a, t, 2 * a[p.L_JOB] + 1, now)


@kernel
def _use(a, now):
    for lane in range(a[p.LANE_READERS]):
        take_beat(a, lane, now)


@kernel
def record(a, t, place, now):
    """Keep the cycle and the stalls: of each projection at half, and at its end."""
    at = record_place(a, place)
    t[at] = now
    for n in range(6):
        t[at + 1 + n] = a[p.STALLS + n]
    t[at + 1 + a[p.L_REASON]] += now - a[p.L_SINCE]


@kernel
def record_place(a, place):
    """Where a record of the running token stands: begin, two of each projection, end."""
    records = 2 * (2 * a[p.LAYERS] + 1) + 2
    return a[p.RECORDS] + (a[p.TOKEN] * records + place) * p.RECORD


@kernel
def epilogue(a, t, now):
    """Issue the rows of one cycle, each part of a slot in its turn."""
    if not a[p.E_WORKING]:
        if a[p.RUNNING] != p.BUSY or a[p.E_JOB] == jobs(a):
            return
        if a[p.QUEUE_TABLE + p.ROWS * p.Q_SIZE + p.Q_COUNT]:
            return
        begin = _starts(a, a[p.E_JOB])
        if begin <= now:
            gated = kind_of_job(a, a[p.E_JOB]) == ROWS_OF_OUT
            a[p.E_WORKING], a[p.E_SLOT], a[p.E_PART], a[p.E_PAIR] = 1, 0, 0, 0
            a[p.E_TAKING] = a[p.GROUPS] if gated else 1
            begin = now + 1
            if a[p.E_JOB] == 2 * a[p.LAYERS] - 2 and chained(a, t):
                # Room for the head's command: with it, the next token's state is asked for.
                states(a, t, max(now + 4, _starts(a, 2 * a[p.LAYERS] + 1)))
                a[p.EARLY] = 1
        wake(a, p.U_EPILOGUE, begin)
        return
    kind = kind_of_job(a, a[p.E_JOB])
    gated = kind == ROWS_OF_OUT
    parts = a[p.GROUPS] if gated else 1
    if a[p.E_TAKING]:
        records = p.RMS_OUT if gated else p.RMS_IN
        ready = when(a, t, records)
        if ready <= now:
            pop(a, records, now)
            a[p.E_TAKING] -= 1
            ready = now + 1
        wake(a, p.U_EPILOGUE, ready)
        return
    ready = when(a, t, p.PARTS)
    if ready > now:
        wake(a, p.U_EPILOGUE, ready)
        return
    if not room(a, p.ROWS):
        return
    each, count = a[p.PER_CYCLE], a[p.LANES]
    rows = _rows(a, kind)
    if a[p.E_PART] == parts - 1 and a[p.E_SLOT] * count + a[p.E_PAIR] * each < rows:
        push(a, t, p.ROWS, now + a[p.T_EPILOGUE])
    wake(a, p.U_EPILOGUE, now + 1)
    a[p.E_PAIR] += 1
    if a[p.E_PAIR] * each < count:
        return
    pop(a, p.PARTS, now)
    a[p.E_PAIR] = 0
    a[p.E_PART] += 1
    if a[p.E_PART] == parts:
        a[p.E_PART] = 0
        a[p.E_SLOT] += 1
        if a[p.E_SLOT] * count >= rows:
            a[p.E_WORKING] = 0
            a[p.E_JOB] += 1


@kernel
def router(a, t, now):
    """Hand the rows of one cycle to their units: the second too, if it may go with the first."""
    ready = when(a, t, p.ROWS)
    if ready > now:
        wake(a, p.U_ROUTER, ready)
        return
    kind = kind_of_job(a, a[p.O_JOB])
    rows, row = _rows(a, kind), a[p.O_ROW]
    count = min(a[p.PER_CYCLE], a[p.LANES] - row % a[p.LANES], rows - row)
    before, passed = a[p.O_PASSED], a[p.O_PASSED]  # a bit for each row
    first = _target(a, t, kind, row)
    if not before & 1 and room(a, first):
        _hand(a, t, first, now)
        passed |= 1
    if count > 1:
        second = _target(a, t, kind, row + 1)
        apart = second != first or before & 1 or kind == ROWS_OF_HEAD  # logits go in pairs
        if not before & 2 and apart and room(a, second):
            _hand(a, t, second, now)
            passed |= 2
    a[p.O_PASSED] = passed
    if passed != before:
        wake(a, p.U_ROUTER, now + 1)
    if passed == (1 << count) - 1:
        pop(a, p.ROWS, now)
        a[p.O_PASSED] = 0
        a[p.O_ROW] += count
        if a[p.O_ROW] == rows:
            a[p.O_ROW] = 0
            a[p.O_JOB] += 1


@kernel
def _target(a, t, kind, row):
    """Queue of the unit that a row goes to."""
    if kind == ROWS_OF_IN:
        return t[a[p.KINDS] + row]
    return p.LOGIT if kind == ROWS_OF_HEAD else p.OUT


@kernel
def _hand(a, t, target, now):
    push(a, t, target, now + (a[p.T_QUEUE] if target == p.Z else 0))


@kernel
def embed(a, t, now):
    """A channel per cycle from eight to a word, and a word of scales per group of 128."""
    if not room(a, p.EMBED):
        return
    reader = a[p.LANE_READERS] + p.EMBEDDING
    count = a[p.EM_COUNT]
    if count % 8 == 0:
        ready = word_when(a, t, reader)
        if ready > now:
            wake(a, p.U_EMBED, ready)
            return
        # The word of a scale is taken while the last group is emitted.
        take_word(a, reader, now)
        if count % a[p.GROUP] == 0:
            ready = word_when(a, t, reader)
            take_word(a, reader, max(now, ready))
    if count < a[p.D_MODEL]:
        push(a, t, p.EMBED, now + a[p.T_EMBED])
    a[p.EM_COUNT] = (count + 1) % a[p.IN_CHANNELS]
    wake(a, p.U_EMBED, now + 1)


@kernel
def residual(a, t, now):
    """Set the stream or add a row; pass it on, and its squares behind the last one."""
    source = p.OUT if a[p.RES_JOB] else p.EMBED
    ready = when(a, t, source)
    if ready > now:
        wake(a, p.U_RESIDUAL, ready)
        return
    last_job = a[p.RES_JOB] == a[p.LAYERS]
    emit = not last_job or a[p.HEADED]
    if emit and not room(a, p.RESIDUAL):
        return
    pop(a, source, now)
    if emit:
        push(a, t, p.RESIDUAL, now + a[p.T_RESIDUAL])
    wake(a, p.U_RESIDUAL, now + 1)
    a[p.RES_COUNT] += 1
    if a[p.RES_COUNT] == a[p.D_MODEL]:
        a[p.RES_COUNT] = 0
        a[p.RES_JOB] = 0 if last_job else a[p.RES_JOB] + 1
        if emit:
            push(a, t, p.SUM_IN, now + a[p.T_RESIDUAL_SUM])
        else:
            _ends(a, now + a[p.T_RESIDUAL_SUM] + a[p.T_DRAIN])


@kernel
def _ends(a, at):
    """The last of a token's work is done."""
    a[p.RUNNING] = p.ENDING
    wake(a, p.U_SEQUENCER, at)


@kernel
def rms(a, t, source, target, unit, now):
    """A record per sum."""
    ready = when(a, t, source)
    if ready > now:
        wake(a, unit, ready)
        return
    if room(a, target):
        pop(a, source, now)
        push(a, t, target, now + a[p.T_RMS])
        wake(a, unit, now + 1)


@kernel
def block_unit(a, t, source, target, unit, count, length, total, now):
    """Store an element of a block; all of it leaves when its last one has been looked at.

    ``count`` is the scalar that counts them; behind ``length`` of ``total`` there are zeros.
    """
    if not room(a, target):
        return
    if a[count] < length:
        ready = when(a, t, source)
        if ready > now:
            wake(a, unit, ready)
            return
        pop(a, source, now)
    push(a, t, target, p.NEVER)
    a[count] += 1
    if a[count] % a[p.BLOCK] == 0:
        release(a, t, target, a[p.BLOCK], now + a[p.T_QUANTIZER])
    if a[count] == total:
        a[count] = 0
    wake(a, unit, now + 1)


@kernel
def words_in(a, t, source, target, unit, place, now):
    """Gather elements to a word of the activation buffer."""
    ready = when(a, t, source)
    if ready > now:
        wake(a, unit, ready)
        return
    if not room(a, target):
        return
    pop(a, source, now)
    a[place] += 1
    if a[place] == a[p.PRODUCTS]:
        a[place] = 0
        push(a, t, target, now + a[p.T_WORD])
    wake(a, unit, now + 1)


@kernel
def head(a, t, now):
    """Two logits to a word, as many in a cycle as the epilogue hands on."""
    ready = when(a, t, p.LOGIT)
    if ready > now:
        wake(a, p.U_HEAD, ready)
        return
    if not room(a, p.LOGITS):
        return
    wake(a, p.U_HEAD, now + 1)
    words = a[p.HD_COUNT] // 2
    for _ in range(a[p.PER_CYCLE]):
        if when(a, t, p.LOGIT) <= now:
            pop(a, p.LOGIT, now)
            a[p.HD_COUNT] += 1
    if a[p.HD_COUNT] // 2 > words:
        push(a, t, p.LOGITS, now + a[p.T_HEAD])
    if a[p.HD_COUNT] == a[p.VOCAB]:
        if a[p.VOCAB] % 2:
            push(a, t, p.LOGITS, now + a[p.T_HEAD])
        a[p.HD_COUNT] = 0
