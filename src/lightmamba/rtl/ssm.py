"""State-space unit: the arithmetic is :class:`lightmamba.numerics.ssm.SsmStep`."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.rtl.bc import bc_layout
from lightmamba.rtl.job import Job
from lightmamba.rtl.layouts import BLOCKED, DISCRETE, command, i_stream, o_stream
from lightmamba.rtl.pipe import Pipe, Queue, Timed
from lightmamba.rtl.shifts import add_tree, saturate
from lightmamba.rtl.ssm_read import SKIP, Contraction, add_words, contract, finish, skip
from lightmamba.rtl.ssm_tokens import LATENCY, StepsPath, members, y_latency
from lightmamba.rtl.ssm_update import (
    LEFT,
    UPDATE,
    Row,
    Updated,
    dither_of,
    floor_of,
    normalize,
    update,
)
from lightmamba.rtl.ssm_walk import Held
from lightmamba.rtl.state import state_layout

__all__ = ["Ssm"]

ADDRESS = 4  # cycle in which the address of B and C goes out: they meet dt·x in cycle 6


class Walk:
    """Head by head, row by row, word by word: where the next issue is.

    Attributes
    ----------
    first, last_word, last_row, last : Signal
        It is a row's first word, its last one; in a head's last row; the last of all.
    address : Signal
        Word of B and C.
    dither : Signal
        Dither of the word's first element, in its low eight bits.
    """

    def __init__(self, m: Module, fields: Any, config: ArchConfig) -> None:
        self.m, self.fields, self.config = m, fields, config
        self.first, self.last_word, self.last_row = Signal(), Signal(), Signal()
        self.last = Signal()
        self.address = Signal(range(max(2, config.bc_words)), reset_less=True)
        self.dither = Signal(8, reset_less=True)
        self._counts = {  # what is left after this one
            name: Signal(len(fields[name]), reset_less=True, name=f"{name}_left")
            for name in ("words", "headdim", "per_group", "heads")
        }
        self._base = Signal(len(self.address) + 1, reset_less=True)  # of the group
        self._row = Signal(8, reset_less=True)  # dither of the row's first element
        self._down = Signal(8, reset_less=True)  # from one row to the next
        self._seed = Signal(8, reset_less=True)  # dither of a head's first element
        zero = {name: count == 0 for name, count in self._counts.items()}
        m.d.comb += [
            self.last_word.eq(zero["words"]),
            self.last_row.eq(zero["headdim"]),
            self.last.eq(zero["words"] & zero["headdim"] & zero["heads"]),
        ]
        self._end_of_group = zero["per_group"]

    def begin(self, token: Value) -> None:
        """Go to the first word of all, in every cycle before the first issue."""
        seed, down = Signal(8), Signal(8)
        self.m.d.comb += [
            seed.eq(dither_of(0, 1) * token),
            down.eq(dither_of(1) * self.fields.stride),
        ]
        self.m.d.sync += [
            *(count.eq(self.fields[name] - 1) for name, count in self._counts.items()),
            self.first.eq(1), self.address.eq(0), self._base.eq(0), self._down.eq(down),
            self._seed.eq(seed), self._row.eq(seed), self.dither.eq(seed),
        ]  # fmt: skip

    def step(self) -> None:
        """Go to the next word."""
        m, words = self.m, self.config.row_words
        across = dither_of(self.config.state_elements)
        m.d.sync += [
            self.first.eq(self.last_word),
            self._count("words"),
            self.address.eq(self.address + 1),
            self.dither.eq(self.dither + across),
        ]
        with m.If(self.last_word):
            row = Signal(8)
            m.d.comb += row.eq(Mux(self.last_row, self._seed, self._row + self._down))
            m.d.sync += [
                self._count("headdim"),
                self.address.eq(self._base), self._row.eq(row), self.dither.eq(row),
            ]  # fmt: skip
            with m.If(self.last_row):
                m.d.sync += [self._count("per_group"), self._count("heads")]
                with m.If(self._end_of_group):
                    m.d.sync += [
                        self._base.eq(self._base + words),
                        self.address.eq(self._base + words),
                    ]

    def _count(self, name: str) -> Any:
        count = self._counts[name]
        return count.eq(Mux(count == 0, self.fields[name] - 1, count - 1))


class Ssm(wiring.Component):
    """Update the state of every head by one token, or by T of them, and read y from it.

    One word of S state elements per cycle, sustained over rows and heads, while operands come and
    outputs are taken; ``latency`` cycles from the transfer of a word to what it becomes on
    ``o_state``, ``y_latency`` from a row's last word to its ``o_y``.

    A job begins when ``i_bc`` offers a token and takes it at its end: until then B and C must stay
    as they are. Operands of the next job may wait at the inputs meanwhile.

    With ``config.tokens`` T above one a head goes through the steps of a list (``arch.passes``): a
    state comes in with a step that loads it, goes from step to step, and goes out after a step that
    stores it. Both latencies are those of a head of one step: y of a head leaves when its last step
    is done, a row per cycle, and ``y_latency`` is from its last word to its first row. A head of
    19 words or more goes from step to step without a pause; a smaller one waits for its results.

    Parameters
    ----------
    config : ArchConfig
        S = ``state_elements``, ``row_words`` or ``word_rows`` R, ``groups``, ``tokens``.

    Members
    -------
    command : In(stream of command("ssm"))
    i_head : In(stream of DISCRETE, or T of them)
        Once per head.
    i_x : In(stream of BLOCKED, or T of them)
        Once per row.
    i_bc : In(stream of 1)
        B and C can be read.
    i_state : In(stream of state_layout(S))
        Once per word; for each step that loads, where there are steps.
    o_state : Out(stream of state_layout(S))
        For each step that stores.
    o_y : Out(stream of s24, or T of them)
        Once per row. That of a vector without a step is anything.
    token : In(8)
        Position, for the dither; read at the beginning of a job. Only of one token.
    address : Out(range(config.bc_words))
        Word of B and C: group·row_words + word.
    B, C : In(bc_layout(config.bc_elements)), or T of them
        What stands there, one cycle later.
    lost_h : Out(range(S + 1)), or T of them
        How many elements overflowed the frame, in steps of new vectors.
    lost_y : Out(range(2·R + 1)), or T of them
        How many values overflowed 24 bits: h·C, and that with D·x.
    waiting : Out(1)
        There is a job, and some operand is missing.
    busy : Out(1)
        A command is not finished, or its results are not taken.

    Of several tokens only, and stable while a pass works, but for streams and the probe:

    i_b : In(stream of T BLOCKED)
        Channels as they go to the stores of B and C; those of B go into the record.
    i_record, o_record : In, Out(stream of u64)
        Record of an earlier pass, and of this one, in one format: channels of B, then head by head
        a word of DISCRETE for each vector, and rows of x. A channel or a row is
        ``config.record_words`` words: of each vector q, and above it its exponent.
    replays, records : In(1)
        The one is taken, the other given.
    step_write, step_index, step_data : In
        Write one STEP; nothing is written while a pass works.
    last_step : In(range(config.steps))
        Steps of a head, less one.
    position : In(8)
        Added to that of every step, modulo 256.
    b_channels : In(16)
        Channels of B, of all groups.
    d_state : In(9)
        Channels of B of one group.
    probe_h : Out({valid, q, exp})
        Every word of every step when it is new.
    """

    interval = 1

    def __init__(self, config: ArchConfig) -> None:
        self.config, self.op = config, config.ssm
        size = self.elements = config.state_elements
        state, bc = state_layout(size), bc_layout(size)
        several = config.row_words > 1  # words of a row are added up in a cycle of their own
        self.latency = 9 + UPDATE
        self.y_latency = 23 + UPDATE + (size // BLOCK).bit_length() - 1 + several
        ports: dict[str, Any] = {
            "command": i_stream(command("ssm")),
            "i_head": i_stream(DISCRETE),
            "i_x": i_stream(BLOCKED),
            "i_bc": i_stream(1),
            "i_state": i_stream(state),
            "o_state": o_stream(state),
            "o_y": o_stream(signed(self.op.out.bits)),
            "token": In(8),
            "address": Out(range(max(2, config.bc_words))),
            "B": In(bc),
            "C": In(bc),
            "lost_h": Out(range(size + 1)),
            "lost_y": Out(2),
            "waiting": Out(1),
            "busy": Out(1),
        }
        if config.tokens > 1:
            del ports["token"]
            ports |= members(config)
            self.latency, self.y_latency = LATENCY, y_latency(config)
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.config.tokens > 1:
            StepsPath(m, self)
            return m
        job = Job(m, self.command, self.busy)
        issue, pop_row, pop_head = Signal(), Signal(), Signal()
        state, x = Held(m, self.i_state, issue), Held(m, self.i_x, pop_row)
        head = Held(m, self.i_head, pop_head)
        walk = Walk(m, job.fields, self.config)
        m.d.comb += [
            pop_row.eq(issue & walk.last_word),
            pop_head.eq(issue & walk.last_word & walk.last_row),
        ]

        pipe = Pipe(m)
        row = self._row(pipe, job.fields, walk, head.payload, x.payload)
        words = [
            self._block(m, job.fields, row, state.payload, n) for n in range(self.elements // BLOCK)
        ]
        blocks, sums = [block for block, _ in words], [total for _, total in words]
        self._count_overflows(pipe, issue, [o for block in blocks for o in block.over])
        made = blocks[0].exp.stage
        states = Queue(m, self.o_state, latency=made)
        new = Cat(*(q.value for block in blocks for q in block.q), *(b.exp.value for b in blocks))
        states.connect(issue, pipe.valid(issue, made), new)

        first = pipe.input(walk.first)
        total = add_words(pipe, sums, issue, first, self.config.row_words)
        y = self._finish(pipe, job.fields, pop_row, total, head.payload, x.payload)
        ys = Queue(m, self.o_y, latency=y.stage)
        ys.connect(pop_row, pipe.valid(pop_row, y.stage), y.value)

        operands, room = Signal(), Signal()
        m.d.comb += [
            operands.eq(state.full & x.full & head.full),
            room.eq(states.room & ys.room),
        ]
        with m.FSM():
            with m.State("BEGIN"):
                m.d.comb += self.waiting.eq(job.active)
                walk.begin(self.token)
                with m.If(job.active & self.i_bc.valid):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [issue.eq(operands & room), self.waiting.eq(~operands)]
                with m.If(issue):
                    walk.step()
                    with m.If(walk.last):
                        m.next = "END"
            with m.State("END"):
                done = ~states.busy & ~ys.busy
                m.d.comb += self.i_bc.ready.eq(done)
                job.end(done)
                with m.If(done):
                    m.next = "BEGIN"
        return m

    def _row(self, pipe: Pipe, fields: Any, walk: Walk, head: Any, x: Any) -> Row:
        """What the blocks of a word share; also sends the address of their B and C."""
        address = pipe.delay(pipe.input(walk.address), ADDRESS)
        pipe.m.d.comb += self.address.eq(address.value)
        dtx = pipe.step(lambda a, b: (a * b)[:24].as_signed(), pipe.input(head.dt), pipe.input(x.q))
        dtx, places = normalize(pipe, dtx)
        dynamic = pipe.step(lambda s, e: s - e, pipe.input(head.shift), pipe.input(x.exp))
        return Row(
            decay=pipe.delay(pipe.input(head.decay), dtx.stage),
            dtx=dtx,
            places=places,
            floor=pipe.step(floor_of, places),
            shift=pipe.step(lambda s: s + (fields.frame + LEFT), dynamic),
            dither=pipe.input(walk.dither),
            dithered=fields.dither,
        )

    def _block(
        self, m: Module, fields: Any, row: Row, state: Any, n: int
    ) -> tuple[Updated, Contraction]:
        """Block ``n`` of a word, new, and its sum with C."""
        m.submodules[f"block{n}"] = part = Module()
        pipe = Pipe(part)
        elements = range(n * BLOCK, (n + 1) * BLOCK)
        h = [pipe.input(state.q[i]) for i in elements]
        B, C = ([pipe.input(bc.q[i], ADDRESS + 1) for i in elements] for bc in (self.B, self.C))
        B_exp, C_exp = (pipe.input(bc.exp[n], ADDRESS + 1) for bc in (self.B, self.C))
        block = update(pipe, self.op, row, h, pipe.input(state.exp[n]), B, B_exp, n * BLOCK)
        return block, contract(pipe, block, C, C_exp)

    def _count_overflows(self, pipe: Pipe, issue: Value, over: list[Timed]) -> None:
        count = add_tree(pipe, over)
        valid = pipe.input(pipe.valid(issue, count.stage), count.stage)
        count = pipe.step(lambda c, v: Mux(v, c, 0), count, valid)
        pipe.m.d.comb += self.lost_h.eq(count.value)

    def _finish(
        self, pipe: Pipe, fields: Any, issue: Value, total: Timed, head: Any, x: Any
    ) -> Timed:
        """y of a row, whose last word is issued."""
        read, lost_read = finish(pipe, self.op, total, fields.y)
        shift = pipe.step(lambda e: fields.D_shift - e, pipe.input(x.exp))
        # The factors of D·x wait, not the product: what waits is in no register.
        D, q = (pipe.delay(pipe.input(v), read.stage - SKIP) for v in (head.D, x.q))
        y = pipe.step(lambda a, b: a + b, read, skip(pipe, self.op, D, q, shift))
        y, lost_skip = saturate(pipe, y, self.op.out)
        lost = []
        for flag in (lost_read, lost_skip):
            valid = pipe.input(pipe.valid(issue, flag.stage), flag.stage)
            lost.append(pipe.step(lambda f, v: f & v, flag, valid).value)
        pipe.m.d.comb += self.lost_y.eq(lost[0] + lost[1])
        return y
