"""The state-space unit of several tokens: a head's state goes through all their steps at once."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.arch.fields import width
from lightmamba.arch.passes import STEP
from lightmamba.rtl.bc import bc_layout
from lightmamba.rtl.job import Job
from lightmamba.rtl.layouts import BLOCKED, DISCRETE, WORD, i_stream, o_stream
from lightmamba.rtl.pipe import Pipe, Queue, Timed, select
from lightmamba.rtl.shifts import add_tree, saturate
from lightmamba.rtl.ssm_heads import HeadBuffer, YBuffer
from lightmamba.rtl.ssm_read import SKIP, Contraction, add_words, contract, finish, skip
from lightmamba.rtl.ssm_record import NewHeads, RecordReader
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
from lightmamba.rtl.ssm_walk import Held, Level, StepWalk, head_words
from lightmamba.rtl.state import state_layout

__all__ = ["LATENCY", "StepsPath", "members", "y_latency"]

ADDRESS = 5  # cycle in which the address of B and C goes out: they meet dt·x in cycle 8
STATE = 7  # cycle in which the address of the last step's result goes out
MADE = 8 + UPDATE  # cycle in which a word is new
LATENCY = MADE + 3  # a word is held before its issue, and goes through a queue


def y_latency(config: ArchConfig) -> int:
    """From the transfer of a head's last word, were it the last of one step, to its first row."""
    blocks = config.bc_elements // BLOCK
    return MADE + 14 + blocks.bit_length() - 1 + (config.row_words > 1) + 1 + YBuffer.latency


def members(config: ArchConfig) -> dict[str, Any]:
    """Ports that differ from those of one token, by name."""
    tokens, size, rows = config.tokens, config.state_elements, config.word_rows
    bc = In(bc_layout(config.bc_elements)).array(tokens)
    probe = {"valid": 1} | dict(state_layout(size).members)
    return {
        "i_head": i_stream(data.ArrayLayout(DISCRETE, tokens)),
        "i_x": i_stream(data.ArrayLayout(BLOCKED, tokens)),
        "i_b": i_stream(data.ArrayLayout(BLOCKED, tokens)),
        "i_record": i_stream(WORD),
        "o_record": o_stream(WORD),
        "o_y": o_stream(data.ArrayLayout(signed(config.ssm.out.bits), tokens)),
        "step_write": In(1),
        "step_index": In(range(config.steps)),
        "step_data": In(width(STEP)),
        "last_step": In(range(config.steps)),
        "position": In(8),
        "records": In(1),
        "replays": In(1),
        "b_channels": In(16),
        "d_state": In(9),
        "B": bc,
        "C": bc,
        "lost_h": Out(range(size + 1)).array(tokens),
        "lost_y": Out(range(2 * rows + 1)).array(tokens),
        "probe_h": Out(data.StructLayout(probe)),
    }


class StepsPath:
    """What :class:`~lightmamba.rtl.ssm.Ssm` is made of where ``config.tokens`` is more than one.

    Parameters
    ----------
    m : Module
    unit : Ssm
    """

    def __init__(self, m: Module, unit: Any) -> None:
        self.m, self.unit = m, unit
        config: ArchConfig = unit.config
        self.config, self.op = config, config.ssm
        self.blocks = config.bc_elements // BLOCK  # of a row in a word
        self.bits = config.tokens.bit_length() - 1  # of a vector's number
        self.job = job = Job(m, unit.command, unit.busy)
        self.fields = job.fields
        self.walk = walk = StepWalk(m, unit, job.fields)
        self.issue, pop_state = Signal(), Signal()
        self.pipe = Pipe(m)
        self.who = Cat(walk.step.vector[: self.bits], walk.step.recorded)
        self.state = Held(m, unit.i_state, pop_state)

        new, old = HeadBuffer(m, unit, job, "new"), HeadBuffer(m, unit, job, "old")
        heads = NewHeads(m, unit, job, new)
        reader = RecordReader(m, unit, job, old, unit.address)
        ys, states = YBuffer(m, unit, job), Queue(m, unit.o_state, latency=MADE)
        rows, D, x = self._rows(new, old)
        kept, last = self._buffer()
        bcs = self._operands(reader.b)
        words = [
            self._block(r * self.blocks + n, row, bc, last)
            for r, row in enumerate(rows)
            for n, bc in enumerate(bcs)
        ]
        result = self._results([block for block, _ in words], states, kept)
        self._count(self.issue, unit.lost_h, [[over for block, _ in words for over in block.over]])
        self._leave(ys, [total for _, total in words], D, x)

        operands, room, end_of_head = Signal(), Signal(), Signal()
        m.d.comb += [
            end_of_head.eq(self.issue & walk.end_of_head),
            pop_state.eq(self.issue & walk.step.load),
            operands.eq(
                new.full & (old.full | ~unit.replays) & (self.state.full | ~walk.step.load)
            ),
            room.eq(
                ys.begun.room & (states.room | ~walk.step.store) & (result.some | walk.step.load)
            ),
            new.take.eq(end_of_head),
            old.take.eq(end_of_head & unit.replays),
            ys.begun.put.eq(end_of_head),
        ]
        with m.FSM():
            with m.State("BEGIN"):
                m.d.comb += unit.waiting.eq(job.active)
                walk.begin(job.active & unit.i_bc.valid)
                with m.If(job.active & unit.i_bc.valid):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [self.issue.eq(operands & room), unit.waiting.eq(~operands)]
                with m.If(self.issue):
                    walk.advance()
                    with m.If(walk.last):
                        m.next = "END"
            with m.State("END"):
                done = ~states.busy & ~ys.busy & ~heads.busy
                m.d.comb += unit.i_bc.ready.eq(done)
                job.end(done)
                with m.If(done):
                    m.next = "BEGIN"

    def _ahead(self, value: Value, stage: int) -> Timed:
        """What ``value`` was at the issue, in a register that much can hang on."""
        return self.pipe.settle(self.pipe.delay(self.pipe.input(value), stage - 1))

    def _choose(self, pipe: Pipe, which: Timed, values: list[Value]) -> Value:
        """One of several values that come together with ``which``, a cycle later."""
        timed = [Timed(value, which.stage) for value in values]
        return pipe.step(lambda w, *v: select(self.m, w, list(v)), which, *timed).value

    def _rows(self, new: HeadBuffer, old: HeadBuffer) -> tuple[list[Row], Timed, list[Any]]:
        """What the blocks of each row of a word share; D, and x of each row."""
        pipe, walk, fields = self.pipe, self.walk, self.fields
        (parameters, x), (old_parameters, old_x) = new.read(walk.row), old.read(walk.row)
        who = pipe.delay(pipe.input(self.who), 1)
        head: Any = DISCRETE(self._choose(pipe, who, [*parameters, *old_parameters]))
        dt, shift, decay, D = (Timed(head[name], 2) for name in ("dt", "shift", "decay", "D"))
        position = pipe.step(
            lambda p: (p + self.unit.position)[:8], pipe.input(walk.step.position)
        )  # fmt: skip
        seed = pipe.step(lambda p: (dither_of(0, 1) * p)[:8], position)
        first = pipe.step(lambda s, o: (s + o)[:8], seed, pipe.input(walk.offset))
        rows, xs = [], []
        for r, down in enumerate(walk.down[:-1]):
            both = self._choose(pipe, who, [*x[r], *old_x[r]])
            q, exp = Timed(both[:8].as_signed(), 2), Timed(both[8:], 2)
            dtx = pipe.step(lambda a, b: (a * b)[:24].as_signed(), dt, q)
            dtx, places = normalize(pipe, dtx)
            dynamic = pipe.step(lambda s, e: s - e, shift, exp)
            xs.append((q, exp))
            rows.append(
                Row(
                    decay=pipe.delay(decay, dtx.stage),
                    dtx=dtx,
                    places=places,
                    floor=pipe.step(floor_of, places),
                    shift=pipe.step(lambda s: s + (fields.frame + LEFT), dynamic),
                    dither=pipe.step(lambda d, down=down: (d + down)[:8], first),
                    dithered=fields.dither,
                )
            )
        return rows, D, xs

    def _operands(self, recorded: list[Value]) -> list[Any]:
        """B and C of each block of a row, of the vector whose turn it is: q, exp, q, exp."""
        m, unit = self.m, self.unit
        m.d.comb += unit.address.eq(self._ahead(self.walk.address, ADDRESS).value)
        layout = bc_layout(self.config.bc_elements)
        B, C = [*unit.B, *(layout(Value.cast(word)) for word in recorded)], list(unit.C)
        who = self._ahead(self.who, ADDRESS + 1)
        vector = Timed(who.value[: self.bits], who.stage)
        found = []
        for n in range(self.blocks):
            m.submodules[f"bc{n}"] = part = Module()
            pipe, each = Pipe(part), []
            for which, words in ((who, B), (vector, C)):
                places = range(n * BLOCK, (n + 1) * BLOCK)
                q = [self._choose(pipe, which, [w.q[i] for w in words]) for i in places]
                exp = self._choose(pipe, which, [w.exp[n] for w in words])
                each += [[Timed(v, ADDRESS + 2) for v in q], Timed(exp, ADDRESS + 2)]
            found.append(each)
        return found

    def _buffer(self) -> tuple[Any, Any]:
        """What the last step has made of a head: the port to write, and the word of the issue."""
        shape = state_layout(self.config.state_elements)
        store = memory.Memory(shape=shape, depth=head_words(self.config), init=[])
        self.m.submodules.last_step = store
        read = store.read_port()
        self.m.d.comb += read.addr.eq(self._ahead(self.walk.word, STATE).value)
        self.loads = self._ahead(self.walk.step.load, STATE + 1)
        return store.write_port(), read.data

    def _block(self, n: int, row: Row, bc: Any, last: Any) -> tuple[Updated, Contraction]:
        """Block ``n`` of a word, new, and its sum with C."""
        B, B_exp, C, C_exp = bc
        self.m.submodules[f"block{n}"] = part = Module()
        pipe, given = Pipe(part), self.state.payload

        def state(loaded: Value, kept: Value) -> Timed:
            return pipe.step(
                lambda load, a, b: Mux(load, a, b), self.loads, pipe.input(loaded),
                Timed(kept, self.loads.stage),
            )  # fmt: skip

        places = range(n * BLOCK, (n + 1) * BLOCK)
        h = [state(given.q[i], last.q[i]) for i in places]
        h_exp = state(given.exp[n], last.exp[n])
        block = update(pipe, self.op, row, h, h_exp, B, B_exp, n % self.blocks * BLOCK)
        return block, contract(pipe, block, C, C_exp)

    def _results(self, blocks: list[Updated], states: Queue, port: Any) -> Level:
        """Keep new words for the next step, show them, store those that are asked for.

        What is counted are words that the next step may be issued for.
        """
        m, unit, pipe, walk = self.m, self.unit, self.pipe, self.walk
        new = Cat(*(q.value for b in blocks for q in b.q), *(b.exp.value for b in blocks))
        level = Level(m, head_words(self.config))
        going_on, stored = Signal(), Signal()
        made = pipe.valid(self.issue, MADE)
        m.d.comb += [
            going_on.eq(self.issue & walk.goes_on),
            stored.eq(self.issue & walk.step.store),
            level.put.eq(pipe.valid(going_on, MADE - STATE)),
            level.take.eq(self.issue & ~walk.step.load),
            port.en.eq(made),
            port.addr.eq(self._ahead(walk.word, MADE).value),
            Value.cast(port.data).eq(new),
            Value.cast(unit.probe_h).eq(Cat(made, new)),
        ]
        states.connect(stored, pipe.valid(stored, MADE), new)
        return level

    def _count(self, on: Value, lost: Any, flags: list[list[Timed]]) -> None:
        """Sum flags of what is issued with ``on``, for the vector whose step it is, if it is new.

        Those of a group come in one cycle.
        """
        counted: list[list[Value]] = [[] for _ in lost]
        for group in flags:
            count = add_tree(self.pipe, group)
            who = self._ahead(self.who, count.stage)
            valid = self.pipe.valid(on, count.stage)
            for n, parts in enumerate(counted):
                mine = Timed(valid & (who.value == n), count.stage)  # recorded ones are above
                parts.append(self.pipe.step(lambda c, on: Mux(on, c, 0), count, mine).value)
        self.m.d.comb += [total.eq(sum(parts)) for total, parts in zip(lost, counted, strict=True)]

    def _leave(self, ys: YBuffer, sums: list[Contraction], D: Timed, xs: list[Any]) -> None:
        """y of each row of a word, whose last word is issued, into the buffer."""
        m, pipe, fields, walk, op = self.m, self.pipe, self.fields, self.walk, self.op
        first, ends = pipe.input(walk.first), self.issue & walk.last_word
        values, lost_read, lost_skip = [], [], []
        for r, (q, exp) in enumerate(xs):
            blocks = sums[r * self.blocks : (r + 1) * self.blocks]
            total = add_words(pipe, blocks, self.issue, first, self.config.row_words)
            read, lost = finish(pipe, op, total, fields.y)
            shift = pipe.step(lambda e: fields.D_shift - e, exp)
            # The factors of D·x wait, not the product: what waits is in no register.
            D_here, x_here = (pipe.delay(v, read.stage - SKIP) for v in (D, q))
            y = pipe.step(lambda a, b: a + b, read, skip(pipe, op, D_here, x_here, shift))
            y, lost_too = saturate(pipe, y, op.out)
            values.append(y)
            lost_read.append(lost)
            lost_skip.append(lost_too)
        self._count(ends, self.unit.lost_y, [lost_read, lost_skip])
        stage = values[0].stage
        here = pipe.valid(ends, stage)
        who = self._ahead(self.who, stage)
        m.d.comb += [
            ys.write.eq(Cat(here & (who.value == n) for n in range(self.config.tokens))),
            ys.values.eq(Cat(y.value for y in values)),
            ys.address.eq(self._ahead(Cat(walk.row, ys.bank), stage).value),
            ys.whole.eq(pipe.valid(self.issue & walk.end_of_head, stage)),
        ]
