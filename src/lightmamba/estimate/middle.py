"""Units between in_proj and out_proj of a running model, and the streams of the state."""

from lightmamba.arch.contract import CONV_HEADER, EXPONENT_RUN, GATE_WEIGHTS
from lightmamba.estimate import places as p
from lightmamba.estimate.channels import store, take_beat, take_word, word_when
from lightmamba.estimate.jit import kernel
from lightmamba.estimate.queues import pop, push, release, room, wake, when

__all__ = [
    "bc", "blocks", "conv", "discretize", "gate", "hadamard", "packer", "ssm", "unpacker",
    "word_writer",
]  # fmt: skip

HELD = 3  # cycles from a word that leaves to a reader that sees it
LAST_OF_BLOCK, OF_X = 1, 2  # marks of a channel of the convolution


@kernel
def discretize(a, t, now):
    """A head per cycle."""
    reader = a[p.LANE_READERS] + p.HEAD_PARAMS
    ready = max(when(a, t, p.DT), word_when(a, t, reader))
    if ready > now:
        wake(a, p.U_DISCRETIZE, ready)
        return
    if room(a, p.HEADS):
        pop(a, p.DT, now)
        take_word(a, reader, now)
        push(a, t, p.HEADS, now + a[p.T_DISCRETIZE])
        wake(a, p.U_DISCRETIZE, now + 1)


@kernel
def conv(a, t, now):
    """A channel per cycle, and a cycle for the header of every eight."""
    params, state = a[p.LANE_READERS] + p.CONV_PARAMS, a[p.LANE_READERS] + p.CONV_READ
    ready = word_when(a, t, params)
    if a[p.V_HEADED]:
        ready = max(ready, max(when(a, t, p.CONV), word_when(a, t, state)))
    if ready > now:
        wake(a, p.U_CONV, ready)
        return
    if not a[p.V_HEADED]:
        take_word(a, params, now)
        a[p.V_HEADED] = 1
        wake(a, p.U_CONV, now + 1)
        return
    if not (room(a, p.CONVOLVED) and room(a, p.CONV_STATE)):
        return
    pop(a, p.CONV, now)
    take_word(a, params, now)
    push(a, t, p.CONVOLVED, now + a[p.T_CONV])
    a[p.V_COUNT] += 1
    count = a[p.V_COUNT]
    if count % 2 == 0 or count == a[p.CONV_DIM]:
        take_word(a, state, now)
        push(a, t, p.CONV_STATE, now + a[p.T_CONV_STATE])
    if count % CONV_HEADER == 0 or count == a[p.CONV_DIM]:
        a[p.V_HEADED] = 0
    if count == a[p.CONV_DIM]:
        a[p.V_COUNT] = 0
    wake(a, p.U_CONV, now + 1)


@kernel
def blocks(a, t, now):
    """Store a channel; a block leaves when its last one has been looked at."""
    ready = when(a, t, p.CONVOLVED)
    if ready > now:
        wake(a, p.U_BLOCKS, ready)
        return
    mark = t[a[p.MARKS] + a[p.B_COUNT]]
    target = p.X if mark & OF_X else p.BC
    if not room(a, target):
        return
    pop(a, p.CONVOLVED, now)
    push(a, t, target, p.NEVER)
    a[p.B_SIZE] += 1
    if mark & LAST_OF_BLOCK:
        release(a, t, target, a[p.B_SIZE], now + a[p.T_BLOCKS])
        a[p.B_SIZE] = 0
    a[p.B_COUNT] = (a[p.B_COUNT] + 1) % a[p.CONV_DIM]
    wake(a, p.U_BLOCKS, now + 1)


@kernel
def bc(a, t, now):
    """Store B and C of a layer; nothing of the next one while they are in use."""
    if not room(a, p.BC_READY):
        return
    ready = when(a, t, p.BC)
    if ready > now:
        wake(a, p.U_BC, ready)
        return
    pop(a, p.BC, now)
    wake(a, p.U_BC, now + 1)
    a[p.BC_SEEN] += 1
    if a[p.BC_SEEN] == a[p.BC_COUNT]:
        a[p.BC_SEEN] = 0
        push(a, t, p.BC_READY, now + 1)


@kernel
def ssm(a, t, now):
    """A word of state per cycle: head by head, row by row."""
    if a[p.S_STATE] == 0:
        ready = when(a, t, p.BC_READY)
        if ready > now:
            wake(a, p.U_SSM, ready)
            return
        a[p.S_STATE] = 1
        wake(a, p.U_SSM, now + 1)
        return
    if a[p.S_STATE] == 2:
        if a[p.QUEUE_TABLE + p.Y * p.Q_SIZE + p.Q_COUNT] == 0:
            pop(a, p.BC_READY, now)
            a[p.S_STATE] = 0
            wake(a, p.U_SSM, now + 1)
        return
    ready = max(when(a, t, p.AHEAD), max(when(a, t, p.X), when(a, t, p.HEADS)))
    if ready >= now:  # operands are held for a cycle
        wake(a, p.U_SSM, ready + 1)
        return
    if not (room(a, p.BEHIND) and room(a, p.Y)):
        return
    wake(a, p.U_SSM, now + 1)
    pop(a, p.AHEAD, now)
    push(a, t, p.BEHIND, now + a[p.T_SSM])
    a[p.S_WORD] += 1
    if a[p.S_WORD] < a[p.ROW_WORDS]:
        return
    a[p.S_WORD] = 0
    pop(a, p.X, now)
    push(a, t, p.Y, now + a[p.T_Y])
    a[p.S_ROW] += 1
    if a[p.S_ROW] < a[p.HEADDIM]:
        return
    a[p.S_ROW] = 0
    pop(a, p.HEADS, now)
    a[p.S_HEAD] += 1
    if a[p.S_HEAD] == a[p.N_HEADS]:
        a[p.S_HEAD] = 0
        a[p.S_STATE] = 2


@kernel
def gate(a, t, now):
    """A channel per cycle; a word of weights is of four, a sum of a norm group."""
    reader = a[p.LANE_READERS] + p.GATE_PARAMS
    ready = max(when(a, t, p.Y), max(when(a, t, p.Z), word_when(a, t, reader)))
    if ready > now:
        wake(a, p.U_GATE, ready)
        return
    if not room(a, p.GATED):
        return
    pop(a, p.Y, now)
    pop(a, p.Z, now)
    push(a, t, p.GATED, now + a[p.T_GATE])
    wake(a, p.U_GATE, now + 1)
    wake(a, p.U_SSM, now + 1)
    a[p.G_COUNT] += 1
    channels = a[p.GROUPS] * a[p.GROUP_DIM]
    if a[p.G_COUNT] % GATE_WEIGHTS == 0 or a[p.G_COUNT] == channels:
        take_word(a, reader, now)
    if a[p.G_COUNT] % a[p.GROUP_DIM] == 0:
        push(a, t, p.SUM_OUT, now + a[p.T_GATE_SUM])
    if a[p.G_COUNT] == channels:
        a[p.G_COUNT] = 0


@kernel
def hadamard(a, t, now):
    """An element per cycle; each leaves with the one that comes order - 1 places behind it."""
    if not room(a, p.MIXED):
        return
    if a[p.H_FLUSH] == 0 and a[p.H_PLACE] < a[p.GROUP_DIM]:
        ready = when(a, t, p.GATED)
        if ready > now:
            wake(a, p.U_HADAMARD, ready)
            return
        pop(a, p.GATED, now)
    wake(a, p.U_HADAMARD, now + 1)
    if a[p.H_EARLY]:
        a[p.H_EARLY] -= 1
    else:
        push(a, t, p.MIXED, now + a[p.T_HADAMARD])
    if a[p.H_FLUSH]:
        a[p.H_FLUSH] -= 1
        if a[p.H_FLUSH] == 0:
            a[p.H_EARLY] = a[p.ORDER] - 1
        return
    a[p.H_PLACE] += 1
    if a[p.H_PLACE] == a[p.GROUP_DIM] + a[p.PAD]:
        a[p.H_PLACE] = 0
        a[p.H_GROUP] += 1
        if a[p.H_GROUP] == a[p.GROUPS]:
            a[p.H_GROUP] = 0
            a[p.H_FLUSH] = a[p.ORDER] - 1


@kernel
def unpacker(a, t, now):
    """Beats to words of state; a beat of exponents before every 32 of elements."""
    if a[p.UN_HAVE]:
        if not room(a, p.AHEAD):
            return
        push(a, t, p.AHEAD, now + 1 + a[p.T_QUEUE])
        a[p.UN_HAVE] -= 1
    reader = a[p.LANE_READERS] + p.STATE
    if a[p.UN_HAVE] == 0:
        ready = when(a, t, p.BEATS + reader)
        if ready > now:
            wake(a, p.U_UNPACKER, ready)
            return
        take_beat(a, reader, now)
        if a[p.UN_PERIOD] == 0:
            a[p.UN_PERIOD] = EXPONENT_RUN
        else:
            a[p.UN_PERIOD] -= 1
            a[p.UN_PART] += 1
        if a[p.UN_PART] == a[p.WORD_BEATS]:
            a[p.UN_PART] = 0
            a[p.UN_HAVE] = min(a[p.BEAT_WORDS], a[p.STATE_WORDS] - a[p.UN_WORDS])
            a[p.UN_WORDS] += a[p.UN_HAVE]
            if a[p.UN_WORDS] == a[p.STATE_WORDS]:
                a[p.UN_WORDS], a[p.UN_PERIOD] = 0, 0
    wake(a, p.U_UNPACKER, now + 1)


@kernel
def packer(a, t, now):
    """Words of state to beats; those of 32 beats wait for their exponents."""
    if a[p.PK_SENDING] or a[p.PK_HELD]:
        row = p.WRITER_TABLE + p.STATE_WRITER * p.W_SIZE
        if a[row + p.W_STORED] < a[row + p.W_DEPTH]:
            if a[p.PK_SENDING]:
                a[p.PK_SENDING] -= 1
                a[p.PK_BEATS] -= 1
            else:
                a[p.PK_SENDING], a[p.PK_HELD] = a[p.PK_HELD], 0
            store(a, p.STATE_WRITER, now)
            wake(a, p.U_PACKER, now + 1)
    ready = max(when(a, t, p.BEHIND), a[p.PK_NEXT])
    if ready > now:
        wake(a, p.U_PACKER, ready)
        return
    beats = a[p.WORD_BEATS]
    ends = a[p.PK_GROUPED] + beats >= EXPONENT_RUN or a[p.PK_WORDS] + 1 == a[p.STATE_WORDS]
    if a[p.PK_BEATS] + beats > 2 * EXPONENT_RUN or (ends and a[p.PK_HELD]):
        return
    pop(a, p.BEHIND, now)
    reader = p.READER_TABLE + (a[p.LANE_READERS] + p.STATE) * p.R_SIZE
    wake(a, a[p.U_READ] + a[reader + p.R_PORT], now + HELD)
    a[p.PK_NEXT] = now + beats
    wake(a, p.U_PACKER, now + beats)
    a[p.PK_FILL] += 1
    a[p.PK_WORDS] += 1
    last = a[p.PK_WORDS] == a[p.STATE_WORDS]
    if a[p.PK_FILL] == a[p.BEAT_WORDS] or last:
        a[p.PK_FILL] = 0
        a[p.PK_BEATS] += beats
        a[p.PK_GROUPED] += beats
        if a[p.PK_GROUPED] == EXPONENT_RUN or last:
            a[p.PK_HELD], a[p.PK_GROUPED] = a[p.PK_GROUPED], 0
    if last:
        a[p.PK_WORDS] = 0


@kernel
def word_writer(a, t, queue, writer, now):
    """Words to beats; the last one of a command ends its beat."""
    row = p.WRITER_TABLE + writer * p.W_SIZE
    unit = p.U_PACKER + writer
    ready = when(a, t, queue)
    if ready > now:
        wake(a, unit, ready)
        return
    if a[row + p.W_STORED] >= a[row + p.W_DEPTH]:
        return
    pop(a, queue, now)
    wake(a, unit, now + 1)
    a[row + p.W_PART] += 1
    a[row + p.W_COUNT] += 1
    last = a[row + p.W_COUNT] == a[row + p.W_WORDS]
    if a[row + p.W_PART] == a[row + p.W_PER_BEAT] or last:
        a[row + p.W_PART] = 0
        store(a, writer, now)
    if last:
        a[row + p.W_COUNT] = 0
        if writer == p.LOGIT_WRITER:  # nothing of the token comes after its logits
            a[p.RUNNING] = p.ENDING
            wake(a, p.U_SEQUENCER, now + a[p.T_DRAIN])
