"""State-space unit: the arithmetic is :class:`lightmamba.numerics.ssm.SsmStep`."""

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import exponents
from lightmamba.arch.fields import width
from lightmamba.arch.passes import STEP
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import WORD, command, i_stream, o_stream, payload
from lightmamba.hardware.rtl.mamba2.bc import bc_layout
from lightmamba.hardware.rtl.mamba2.ssm_pipeline import Pipeline, Stages
from lightmamba.hardware.rtl.mamba2.ssm_walk import StepWalk
from lightmamba.hardware.rtl.memory.state import state_layout
from lightmamba.hardware.rtl.slices import wide

__all__ = ["Ssm"]


class Ssm(wiring.Component):
    """Update the state of every head by the tokens of a pass, and read y from it.

    One word of S state elements per cycle, sustained over rows and heads, while operands come and
    outputs are taken; ``latency`` cycles from the transfer of a word to its new value on
    ``o_state``, ``y_latency`` from the transfer of a row's last word to its ``o_y``.

    A job begins when ``i_bc`` offers a pass and takes it at its end: until then B and C must stay
    as they are. Operands of the next job may wait at the inputs meanwhile.

    A head goes through the steps of a list (``arch.passes``): a state comes in with a step that
    loads it, goes from step to step, and goes out after a step that stores it. Where there is more
    than one step, or a word of the state holds several rows (``config.whole_heads``), the unit
    waits for whole heads of x, and y of a head leaves when its last step is done, a row per cycle;
    then both latencies are those of a head of one step, and ``y_latency`` is from its last word to
    its first row. A head of 16 words or more goes from step to step without a pause; a smaller one
    waits for its results.

    A word of fewer than 32 elements is a part of a block. The unit waits for all words of a block:
    both latencies count from the transfer of its last word for the first, from a cycle later for
    the second, and so on.

    Parameters
    ----------
    config : ArchConfig
        S = ``state_elements``, ``row_words`` or ``word_rows`` R, ``groups``, T = ``tokens``.

    Members
    -------
    command : In(stream of command("ssm"))
    i_head : In(stream of DISCRETE per vector)
        Once per head.
    i_x : In(stream of BLOCKED per vector)
        Once per row.
    i_bc : In(stream of 1)
        B and C can be read.
    i_state : In(stream of state_layout(S))
        Once per word, for each step that loads.
    o_state : Out(stream of state_layout(S))
        For each step that stores.
    o_y : Out(stream of s24 per vector)
        Once per row. That of a vector without a step is anything.
    position : In(8)
        Added to that of every step, modulo 256, for the dither. Stable while a pass works.
    address : Out(range(config.bc_words))
        Word of B and C: group·row_words + word.
    B, C : In(bc_layout(config.bc_elements) per vector)
        Contents at that address, one cycle later.
    lost_h : Out(range(S // 32 + 1) per vector; at least 1 bit)
        Blocks whose exponent saturated, in steps of new vectors.
    lost_y : Out(range(2·R + 1) per vector)
        Values that overflowed 24 bits: h·C, and that with D·x.
    probe_h : Out({valid, q, exp})
        Every word of every step when it is new.
    waiting, working : Out(1)
        There is a job, and some operand is missing; no operand is.
    busy : Out(1)
        A command is not finished, or its results are not taken.

    Only where a pass may have several steps, and stable while it works:

    step_write, step_index, step_data : In
        Write one STEP; nothing is written while a pass works.
    last_step : In(range(config.steps))
        Steps of a head, less one.

    Only where a pass may leave tokens undecided; all but the streams stable while it works:

    i_b : In(stream of BLOCKED per vector)
        Channels as they go to the stores of B and C; those of B go into the record.
    i_record, o_record : In, Out(stream of u64)
        Record of an earlier pass, and of this one, in one format: channels of B, then head by head
        a word of DISCRETE for each vector, and rows of x. A channel or a row is
        ``config.record_words`` words: of each vector q, and above it its exponent.
    replays, records : In(1)
        The one is taken, the other given.
    b_channels : In(16)
        Channels of B, of all groups.
    d_state : In(9)
        Channels of B of one group.
    """

    interval = 1

    def __init__(self, config: ArchConfig) -> None:
        self.config, self.op = config, config.ssm
        self.stages = Stages.of(config)
        self.latency, self.y_latency = self.stages.latency, self.stages.y_latency
        tokens, size = config.tokens, config.state_elements
        state, bc = state_layout(size), In(bc_layout(config.bc_elements)).array(tokens)
        ports: dict[str, Any] = {
            "command": i_stream(command("ssm")),
            "i_head": i_stream(wide(payload("DISCRETE"), tokens)),
            "i_x": i_stream(wide(payload("BLOCKED", config), tokens)),
            "i_bc": i_stream(1),
            "i_state": i_stream(state),
            "o_state": o_stream(state),
            "o_y": o_stream(wide(signed(self.op.out.bits), tokens)),
            "position": In(8),
            "address": Out(range(max(2, config.bc_words))),
            "B": bc,
            "C": bc,
            "lost_h": Out(range(exponents(size) + 1)).array(tokens),
            "lost_y": Out(range(2 * config.word_rows + 1)).array(tokens),
            "probe_h": Out(data.StructLayout({"valid": 1} | dict(state.members))),
            "waiting": Out(1),
            "working": Out(1),
            "busy": Out(1),
        }
        if config.steps > 1:
            ports |= {
                "step_write": In(1),
                "step_index": In(range(config.steps)),
                "step_data": In(width(STEP)),
                "last_step": In(range(config.steps)),
            }
        if config.undecided:
            ports |= {
                "i_b": i_stream(wide(payload("BLOCKED", config), tokens)),
                "i_record": i_stream(WORD),
                "o_record": o_stream(WORD),
                "replays": In(1),
                "records": In(1),
                "b_channels": In(16),
                "d_state": In(9),
            }
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Job(m, self.command, self.busy)
        m.d.comb += self.working.eq(self.busy & ~self.waiting)
        walk = StepWalk(m, self, job.fields)
        path = Pipeline(m, self, job, walk)
        with m.FSM():
            with m.State("BEGIN"):
                start = Signal()
                m.d.comb += [start.eq(job.active & self.i_bc.valid), self.waiting.eq(job.active)]
                walk.begin(start)
                with m.If(start):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [
                    path.issue.eq(walk.inside | (path.operands & path.room)),
                    self.waiting.eq(~walk.inside & ~path.operands),
                ]
                with m.If(path.issue):
                    walk.advance()
                    with m.If(walk.last):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += self.i_bc.ready.eq(~path.busy)
                job.end(~path.busy)
                with m.If(~path.busy):
                    m.next = "BEGIN"
        return m
