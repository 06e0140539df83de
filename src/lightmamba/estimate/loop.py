"""The clock of a running model: from each cycle in which something happens to the next."""

from lightmamba.estimate import places as p
from lightmamba.estimate.channels import channel, command, read_port, states, write_port
from lightmamba.estimate.front import (
    block_unit,
    embed,
    epilogue,
    head,
    lanes,
    record,
    residual,
    rms,
    router,
    words_in,
)  # fmt: skip
from lightmamba.estimate.jit import kernel
from lightmamba.estimate.middle import (
    bc,
    blocks,
    conv,
    discretize,
    gate,
    hadamard,
    packer,
    ssm,
    unpacker,
    word_writer,
)  # fmt: skip
from lightmamba.estimate.queues import wake

__all__ = ["run"]

STATIC = (p.CONV_PARAMS, p.HEAD_PARAMS, p.GATE_PARAMS)


@kernel
def run(a, t):
    """Run all tokens; whether they came to an end (else everything waits for something)."""
    _prefetch(a, t, 0)
    while a[p.RUNNING] != p.OVER:
        now = p.NEVER
        for unit in range(a[p.U_END]):
            now = min(now, a[p.WAKE + unit])
        if now == p.NEVER:
            return False
        for unit in range(a[p.U_END]):
            if a[p.WAKE + unit] <= now:
                a[p.WAKE + unit] = p.NEVER
                _act(a, t, unit, now)
    return True


@kernel
def _act(a, t, unit, now):
    """One unit's part of a cycle."""
    if unit == p.U_LANES:
        lanes(a, t, now)
    elif unit >= a[p.U_WRITE]:
        write_port(a, t, unit - a[p.U_WRITE], now)
    elif unit >= a[p.U_READ]:
        read_port(a, t, unit - a[p.U_READ], now)
    elif unit >= p.U_CHANNEL:
        channel(a, t, unit - p.U_CHANNEL, now)
    elif unit == p.U_SEQUENCER:
        _sequencer(a, t, now)
    elif unit == p.U_UNPACKER:
        unpacker(a, t, now)
    elif unit == p.U_EMBED:
        embed(a, t, now)
    elif unit == p.U_EPILOGUE:
        epilogue(a, t, now)
    elif unit == p.U_ROUTER:
        router(a, t, now)
    elif unit == p.U_RESIDUAL:
        residual(a, t, now)
    elif unit == p.U_RMS_IN:
        rms(a, t, p.SUM_IN, p.RMS_IN, unit, now)
    elif unit == p.U_QUANT_IN:
        block_unit(
            a, t, p.RESIDUAL, p.QUANT_IN, unit, p.QI_COUNT, a[p.D_MODEL], a[p.IN_CHANNELS], now
        )
    elif unit == p.U_WORDS_IN:
        words_in(a, t, p.QUANT_IN, p.WORDS_IN, unit, p.WI_PLACE, now)
    elif unit == p.U_DISCRETIZE:
        discretize(a, t, now)
    elif unit == p.U_CONV:
        conv(a, t, now)
    elif unit == p.U_BLOCKS:
        blocks(a, t, now)
    elif unit == p.U_BC:
        bc(a, t, now)
    elif unit == p.U_SSM:
        ssm(a, t, now)
    elif unit == p.U_GATE:
        gate(a, t, now)
    elif unit == p.U_RMS_OUT:
        rms(a, t, p.SUM_OUT, p.RMS_OUT, unit, now)
    elif unit == p.U_HADAMARD:
        hadamard(a, t, now)
    elif unit == p.U_QUANT_OUT:
        channels = a[p.OUT_CHANNELS]
        block_unit(a, t, p.MIXED, p.QUANT_OUT, unit, p.QO_COUNT, channels, channels, now)
    elif unit == p.U_WORDS_OUT:
        words_in(a, t, p.QUANT_OUT, p.WORDS_OUT, unit, p.WO_PLACE, now)
    elif unit == p.U_HEAD:
        head(a, t, now)
    elif unit == p.U_PACKER:
        packer(a, t, now)
    elif unit == p.U_CONV_WRITER:
        word_writer(a, t, p.CONV_STATE, p.CONV_WRITER, now)
    elif unit == p.U_LOGIT_WRITER:
        word_writer(a, t, p.LOGITS, p.LOGIT_WRITER, now)


@kernel
def _sequencer(a, t, now):
    """End a token, when all its work is done, and begin the next."""
    if a[p.RUNNING] == p.BUSY:
        return
    if a[p.RUNNING] == p.ENDING:
        if not a[p.HEADED]:  # else the next one is chained to it, and waits for no answer
            for writer in range(p.WRITERS):
                row = p.WRITER_TABLE + writer * p.W_SIZE
                if a[row + p.W_DONE] < a[row + p.W_DUE]:
                    return
        record(a, t, 2 * (2 * a[p.LAYERS] + 1) + 1, now)
        a[p.TOKEN] += 1
        if a[p.TOKEN] == a[p.TOKENS]:
            a[p.RUNNING] = p.OVER
            return
    a[p.RUNNING], a[p.BEGUN] = p.BUSY, now
    a[p.HEADED] = t[a[p.PLAN] + a[p.TOKEN]]
    a[p.L_JOB], a[p.E_JOB], a[p.O_JOB] = 0, 0, 0
    record(a, t, 0, now)
    first = a[p.LANE_READERS]
    if a[p.HEADED]:
        for lane in range(first):
            command(a, t, lane, a[p.HEAD_BEATS], now + 2, 0)
    _prefetch(a, t, now + 2)
    if not a[p.EARLY]:
        states(a, t, now + 2)
    a[p.EARLY] = 0
    reader = first + p.EMBEDDING
    beats = a[p.READER_TABLE + reader * p.R_SIZE + p.R_SEGMENT]
    command(a, t, reader, beats, now + a[p.T_FETCH] + 1, 0)
    if a[p.HEADED]:
        row = p.WRITER_TABLE + p.LOGIT_WRITER * p.W_SIZE
        a[row + p.W_DUE] += a[row + p.W_COMMAND]
    wake(a, p.U_LANES, now + 1)
    wake(a, p.U_EPILOGUE, now + 1)


@kernel
def _prefetch(a, t, at):
    """Ask for what is the same for every token: weights and parameters of the next one."""
    first = a[p.LANE_READERS]
    for lane in range(first):
        command(a, t, lane, a[p.LAYERS_BEATS], at, 0)
    for name in STATIC:
        beats = a[p.READER_TABLE + (first + name) * p.R_SIZE + p.R_SEGMENT]
        command(a, t, first + name, beats, at, 0)
