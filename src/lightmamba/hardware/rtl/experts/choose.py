"""Choice of the blocks of a token: the arithmetic is ``numerics.routing.Routing``."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.latency import QUEUE
from lightmamba.blocks.experts.hardware import MOST_CHOSEN, MOST_EXPERTS, RUNS
from lightmamba.hardware.rtl.experts.ranking import KEY, Ranking
from lightmamba.hardware.rtl.experts.shares import Shares
from lightmamba.hardware.rtl.gated import limit
from lightmamba.hardware.rtl.interpolation import LATENCY as INTERPOLATION
from lightmamba.hardware.rtl.interpolation import sigmoid
from lightmamba.hardware.rtl.job import Countdown, Job
from lightmamba.hardware.rtl.layouts import WORD, command, i_stream, o_stream, payload
from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import round_latency, round_saturate, saturate
from lightmamba.hardware.rtl.streams import StreamQueue
from lightmamba.numerics.formats import INT16, INT32
from lightmamba.numerics.routing import ONE, SCORE_BITS, WEIGHT_BITS, Routing
from lightmamba.numerics.tables import Q5_11

__all__ = ["Choose"]

# Shifts that matter: one further right gives 0 as well, one further left no layer has.
SCORE_SHIFTS = -20, INT16.bits
BIAS = 24  # bits
BLOCK = data.StructLayout({"block": 9, "last": 1})


class Choose(wiring.Component):
    """Choose the blocks of a token, and weigh them: those of every token, then the best experts.

    One row per cycle. ``latency`` cycles from the transfer of the last row to the first chosen
    block, ``weight_latency`` to its weight; the others follow one per cycle. What every token takes
    is offered as soon as a job begins, whether rows come or not. A job is over when its last block
    and its last weight have been taken.

    Parameters
    ----------
    config : ArchConfig
        Its kinds of layers.
    op : numerics.routing.Routing
        Tables; the command has the rest.

    Members
    -------
    command : In(stream of command("choose"))
        ``count`` experts, 1 to 256, of which a token takes ``top``, 1 to 16, no more than there
        are; ``always`` blocks besides, 1 to 15.
    i : In(stream of s16)
        Rows of the router, by expert.
    i_bias : In(stream of u64)
        With each row of a job of sigmoids: a bias, s24, in the lowest bits.
    o_choice : Out(stream of CHOICE)
        Blocks that every token takes, whose numbers follow those of the experts; then the chosen
        experts, best first, of equal ones the lower first. ``last``: there are no more. Where they
        lie in memory is as the command says.
    o_weight : Out(stream of u16)
        Weights of the same blocks, with 15 fractional bits.
    score : Out({valid, value s32})
        Each score, by expert, with 16 fractional bits.
    lost : Out(1)
        A score was saturated.
    busy : Out(1)
        A command is not finished.
    """

    key_latency = 1 + round_latency(*SCORE_SHIFTS) + 2 + INTERPOLATION + 1  # of a row's key
    latency = key_latency + Ranking.latency + QUEUE
    weight_latency = latency + Shares.latency
    interval = 1

    command: Any
    i: Any
    i_bias: Any
    o_choice: Any
    o_weight: Any
    score: Any
    lost: Any
    busy: Any

    def __init__(self, config: ArchConfig, op: Routing | None = None) -> None:
        self.op = op or Routing(1)
        super().__init__(
            {
                "command": i_stream(command("choose", config)),
                "i": i_stream(signed(16)),
                "i_bias": i_stream(WORD),
                "o_choice": o_stream(payload("CHOICE", config)),
                "o_weight": o_stream(unsigned(WEIGHT_BITS + 1)),
                "score": Out(data.StructLayout({"valid": 1, "value": signed(INT32.bits)})),
                "lost": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Job(m, self.command, self.busy)
        fields, given = job.fields, self.command.payload
        m.submodules.ranking = ranking = Ranking(MOST_CHOSEN, MOST_EXPERTS)
        m.submodules.shares = shares = Shares(self.op)
        m.submodules.blocks = blocks = StreamQueue(BLOCK, MOST_CHOSEN)
        m.submodules.weights = weights = StreamQueue(WEIGHT_BITS + 2, MOST_CHOSEN)

        listed = self._rank(m, job, ranking, shares)
        leaving = Countdown(5)
        with m.If(listed):
            m.d.sync += leaving.load(fields.top)
        with m.Elif(leaving.some):
            m.d.sync += leaving.step()
        m.d.comb += [
            ranking.leaves.eq(leaving.some),
            blocks.i.valid.eq(leaving.some),
            blocks.i.payload.block.eq(ranking.best.expert),
            blocks.i.payload.last.eq(leaving.last),
            shares.start.eq(job.start),
            shares.sigmoid.eq(fields.sigmoid),
            shares.normed.eq(fields.normed),
            shares.enters.eq(leaving.some),
            shares.ends.eq(leaving.last),
            shares.rank.eq(ranking.best.rank),
            weights.i.valid.eq(shares.leaves),
            weights.i.payload.eq(Cat(shares.weight, shares.last)),
        ]

        block, taken = Signal(9), stream.Signature(BLOCK).create()
        with m.If(job.start):
            m.d.sync += block.eq(given.count)
        with m.Elif(taken.valid & taken.ready):
            m.d.sync += block.eq(block + 1)
        choice = self.o_choice.payload
        m.d.comb += [
            self.o_choice.valid.eq(taken.valid),
            taken.ready.eq(self.o_choice.ready),
            choice.block.eq(taken.payload.block),
            choice.last.eq(taken.payload.last),
            *(choice[field.name].eq(fields[field.name]) for field in RUNS),
        ]
        ended = [
            self._after(m, job, taken, block, blocks.o),
            self._after(m, job, self.o_weight, Value.cast(ONE), weights.o),
        ]
        job.end(Cat(ended).all())
        return m

    def _rank(self, m: Module, job: Job, ranking: Ranking, shares: Shares) -> Signal:
        """Bring rows into the ranking; returns a pulse one cycle before all are listed."""
        pipe, fields, given = Pipe(m), job.fields, self.command.payload
        left, issue, ready = Countdown(9), Signal(), Signal()
        shift = Signal(range(SCORE_SHIFTS[0], SCORE_SHIFTS[1] + 1))
        m.d.comb += [
            ready.eq(left.some & (self.i_bias.valid | ~fields.sigmoid)),
            issue.eq(ready & self.i.valid),
            self.i.ready.eq(ready),
            self.i_bias.ready.eq(left.some & self.i.valid & fields.sigmoid),
        ]
        with m.If(job.start):
            m.d.sync += [*left.load(given.count), shift.eq(limit(given.shift, *SCORE_SHIFTS))]
        with m.Elif(issue):
            m.d.sync += left.step()

        row = pipe.step(lambda v: v, pipe.input(self.i.payload))
        low, high = SCORE_SHIFTS
        score, over = round_saturate(
            pipe, row, pipe.input(shift, row.stage), INT32, low=low, high=high
        )
        at = score.stage
        scored = pipe.valid(issue, at)
        m.d.comb += [
            self.score.valid.eq(scored),
            self.score.value.eq(score.value),
            self.lost.eq(scored & over.value),
        ]
        cut = SCORE_BITS + Q5_11  # bits that the table has no room for
        near = pipe.step(lambda v: (v[cut - 1 :].as_signed() + 1) >> 1, score)
        narrow, _ = saturate(pipe, near, INT16)
        sigma = sigmoid(pipe, narrow, self.op.sigmoid.nodes)
        bias = pipe.input(self.i_bias.payload[:BIAS].as_signed())
        score, bias = (pipe.settle(pipe.delay(each, sigma.stage - 1)) for each in (score, bias))
        kind = pipe.input(fields.sigmoid, sigma.stage)
        key = pipe.step(_key, kind, score, sigma, bias, shape=signed(KEY))

        enters, expert = pipe.valid(scored, key.stage - at), Signal(range(MOST_EXPERTS))
        with m.If(job.start):
            m.d.sync += expert.eq(0)
        with m.Elif(enters):
            m.d.sync += expert.eq(expert + 1)
        m.d.comb += [
            ranking.clear.eq(job.start),
            ranking.enters.eq(enters),
            ranking.key.eq(key.value),
            ranking.expert.eq(expert),
        ]
        self._sigmas(m, enters, expert, pipe.delay(sigma, key.stage), ranking, shares)
        return pipe.valid(issue & left.last, key.stage + Ranking.latency - 1)

    def _sigmas(
        self, m: Module, enters: Value, expert: Value, sigma: Timed, ranking: Ranking,
        shares: Shares,
    ) -> None:  # fmt: skip
        """Keep the sigmoids of all experts, and read that of the one that leaves the ranking."""
        m.submodules.sigmas = kept = memory.Memory(shape=16, depth=MOST_EXPERTS, init=[])
        write, read = kept.write_port(), kept.read_port()
        m.d.comb += [
            write.en.eq(enters),
            write.addr.eq(expert),
            write.data.eq(sigma.value),
            read.addr.eq(ranking.best.expert),
            shares.sigma.eq(read.data),
        ]

    def _after(self, m: Module, job: Job, o: Any, first: Value, behind: Any) -> Signal:
        """Offer ``first`` for each block of every token, then ``behind``; returns whether all left.

        The highest bit of ``behind`` marks its last payload; ``o`` may have one bit less.
        """
        left, ended, moves = Countdown(4), Signal(), o.valid & o.ready
        offered, more = Value.cast(o.payload), Value.cast(behind.payload)
        m.d.comb += [
            o.valid.eq(left.some | behind.valid),
            offered.eq(Mux(left.some, first, more)),
            behind.ready.eq(o.ready & ~left.some),
        ]
        with m.If(job.start):
            m.d.sync += [*left.load(self.command.payload.always), ended.eq(0)]
        with m.Elif(moves):
            m.d.sync += ended.eq(~left.some & more[-1])
            with m.If(left.some):
                m.d.sync += left.step()
        return ended


def _key(of_sigmoids: Value, score: Value, sigma: Value, bias: Value) -> Value:
    """Key of an expert: a sigmoid and its bias, or a score."""
    return Mux(of_sigmoids, sigma + bias, score)
