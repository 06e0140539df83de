"""Pipeline of the state-space unit: from operands and a word of state to the new word and y."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import payload
from lightmamba.hardware.rtl.mamba2.bc import bc_layout
from lightmamba.hardware.rtl.mamba2.ssm_operands import operands_of
from lightmamba.hardware.rtl.mamba2.ssm_read import (
    SKIP,
    Contraction,
    add_words,
    contract,
    finish,
    skip,
)
from lightmamba.hardware.rtl.mamba2.ssm_results import results_of
from lightmamba.hardware.rtl.mamba2.ssm_update import (
    UPDATE,
    Parts,
    Row,
    Updated,
    dither_of,
    row_of,
    update,
)
from lightmamba.hardware.rtl.mamba2.ssm_walk import HeldBlock, Level, StepWalk, head_words
from lightmamba.hardware.rtl.memory.state import state_layout
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed, select
from lightmamba.hardware.rtl.shifts import add_tree, saturate, tree_steps

__all__ = ["Pipeline", "Stages"]

HOLD = 1  # cycles in which the last word of a block is held before the issue of its first
NORMAL = 6  # from dt and x to the normal form of dt·x, which meets B
FINISH = 11  # from a new word to y of its row, without additions


@dataclass(frozen=True)
class Stages:
    """Cycles after the issue of a word.

    Parameters
    ----------
    choose : int
        Cycles in which one of the operands of all vectors is chosen.
    operands : int
        dt, x and the others of the word's row are there.
    made : int
        The word is new.
    y : int
        y of a row is there, where this is its last word.
    latency, y_latency : int
        As :class:`lightmamba.hardware.rtl.mamba2.ssm.Ssm` states them.
    """

    choose: int
    operands: int
    made: int
    y: int
    latency: int
    y_latency: int

    @classmethod
    def of(cls, config: ArchConfig) -> "Stages":
        """Stages of a configuration."""
        choose = int(config.whole_heads)
        operands = 2 * choose  # a memory's register, then the choice
        words = config.block_words
        made = operands + NORMAL + UPDATE + words * (words > 1)
        added = tree_steps(config.block_elements, 2) + tree_steps(config.bc_blocks, 1)
        y = made + FINISH + added + (config.row_words > 1)
        leaves = results_of(config).latency
        return cls(choose, operands, made, y, made + HOLD + 2, y + HOLD + leaves)

    @property
    def address(self) -> int:
        """The address of B and C goes out; a cycle later they are there, then one is chosen."""
        return self.operands + NORMAL - 2 - self.choose

    @property
    def last_step(self) -> int:
        """The address of the last step's result goes out."""
        return self.operands + NORMAL - 1


class Pipeline:
    """Datapath of a job, issued word by word.

    Parameters
    ----------
    m : Module
    unit : Ssm
    job : Job
    walk : StepWalk

    Attributes
    ----------
    issue : Signal
        A word is issued in this cycle. Driven by the user, no sooner than ``operands`` and
        ``room`` allow.
    operands, room : Signal
        Everything that the next word needs is there; its results have room.
    busy : Signal
        Something is in flight, or results are not taken.
    """

    def __init__(self, m: Module, unit: Any, job: Job, walk: StepWalk) -> None:
        self.m, self.unit, self.walk, self.fields = m, unit, walk, job.fields
        config: ArchConfig = unit.config
        self.config, self.op, self.stages = config, config.ssm, unit.stages
        self.blocks, self.size = config.bc_blocks, config.block_elements  # of a row in a word
        self.bits = max(1, (config.tokens - 1).bit_length())  # of a vector's number
        self.pipe = Pipe(m)
        self.issue, self.operands, self.room, self.busy = (Signal() for _ in range(4))
        self.who = walk.step.vector[: self.bits]
        if config.undecided:
            self.who = Cat(self.who, walk.step.recorded)

        pop_state = Signal()
        self.state = HeldBlock(m, unit.i_state, pop_state, walk)
        given = operands_of(config)(m, unit, job, walk, self.issue)
        ys = results_of(config)(m, unit, job)
        states = Queue(
            m, unit.o_state, latency=self.stages.made, together=config.block_words
        )  # fmt: skip
        self.begins = self.issue & ~walk.inside
        rows, D, x = self._rows(given)
        bcs = self._bc(given.recorded)
        last = self._last_step() if config.steps > 1 else None
        words = [
            self._block(r * self.blocks + n, row, bc, last)
            for r, row in enumerate(rows)
            for n, bc in enumerate(bcs)
        ]
        blocks = [block for block, _ in words]
        result = self._results(blocks, states, last)
        self._count(self.begins, unit.lost_h, [[over for block in blocks for over in block.over]])
        self._leave(ys, [total for _, total in words], D, x)
        m.d.comb += [
            pop_state.eq(self.issue & walk.step.load),
            self.operands.eq(given.full & (self.state.full | ~walk.step.load)),
            self.room.eq(ys.room & (states.room | ~walk.step.store) & (result | walk.step.load)),
            self.busy.eq(states.busy | ys.busy | given.busy),
        ]

    def ahead(self, value: Value, stage: int) -> Timed:
        """The ``value`` of the issue, in a register that can drive much."""
        return self.pipe.settle(self.pipe.delay(self.pipe.input(value), stage - 1))

    def _choose(self, pipe: Pipe, which: Timed, values: list[Value]) -> Timed:
        """The value of one vector, of those that come together with ``which``."""
        timed = [Timed(value, which.stage) for value in values]
        if not self.stages.choose:
            return timed[0]
        return pipe.step(lambda w, *v: select(self.m, w, list(v)), which, *timed)

    def _rows(self, given: Any) -> tuple[list[Row], Timed, list[Any]]:
        """Operands that the blocks of each row of a word share; D, and x of each row."""
        pipe, walk, fields = self.pipe, self.walk, self.fields
        parameters, x = given.read()
        who = pipe.delay(pipe.input(self.who), self.stages.operands - self.stages.choose)
        chosen = self._choose(pipe, who, parameters)
        head: Any = payload("DISCRETE")(chosen.value)
        dt, shift, decay, D = (
            Timed(head[name], chosen.stage) for name in ("dt", "shift", "decay", "D")
        )
        position = pipe.step(
            lambda p: (p + self.unit.position)[:8], pipe.input(walk.step.position)
        )  # fmt: skip
        seed = pipe.step(lambda p: (dither_of(0, 1) * p)[:8], position)
        first = pipe.step(lambda s, o: (s + o)[:8], seed, pipe.input(walk.offset))
        head_seed = pipe.step(
            lambda p, n: (dither_of(1) * p + dither_of(0, 1) * n)[:8], position,
            pipe.input(walk.head),
        )  # fmt: skip
        rows, xs = [], []
        for r, down in enumerate(walk.down[:-1]):
            both = self._choose(pipe, who, x[r])
            q = Timed(both.value[:8].as_signed(), both.stage)
            exp = Timed(both.value[8:], both.stage)
            dtx = pipe.step(lambda a, b: (a * b)[:24].as_signed(), dt, q)
            dynamic = pipe.step(lambda s, e: s - e, shift, exp)
            xs.append((q, exp))
            rows.append(
                row_of(
                    pipe,
                    decay=decay,
                    dtx=dtx,
                    shift=pipe.step(lambda s: s + fields.frame, dynamic),
                    head=head_seed,
                    dither=pipe.step(lambda d, down=down: (d + down)[:8], first),
                    dithered=fields.dither,
                )
            )
        return rows, D, xs

    def _bc(self, recorded: Any) -> list[Any]:
        """B and C of each block of a row, of the vector of the step: q, exp, q, exp."""
        m, unit, stage = self.m, self.unit, self.stages.address
        address = self.walk.address
        m.d.comb += unit.address.eq(self.ahead(address, stage).value)
        layout = bc_layout(self.config.bc_elements)
        B, C = [*unit.B, *(layout(Value.cast(word)) for word in recorded)], list(unit.C)
        who = self.ahead(self.who, stage + 1)
        vector = Timed(who.value[: self.bits], who.stage)
        found = []
        for n in range(self.blocks):
            m.submodules[f"bc{n}"] = part = Module()
            pipe, each = Pipe(part), []
            for which, words in ((who, B), (vector, C)):
                places = range(n * self.size, (n + 1) * self.size)
                q = [self._choose(pipe, which, [w.q[i] for w in words]) for i in places]
                each += [q, self._choose(pipe, which, [w.exp[n] for w in words])]
            found.append(each)
        return found

    def _last_step(self) -> tuple[Any, Any, Timed]:
        """Results of the last step: the port to write them, the word of the issue, who loads."""
        shape = state_layout(self.config.state_elements)
        store = memory.Memory(shape=shape, depth=head_words(self.config), init=[])
        self.m.submodules.last_step = store
        read, stage = store.read_port(), self.stages.last_step
        self.m.d.comb += read.addr.eq(self.ahead(self.walk.word, stage).value)
        return store.write_port(), read.data, self.ahead(self.walk.step.load, stage + 1)

    def _block(self, n: int, row: Row, bc: Any, last: Any) -> tuple[Updated, Contraction]:
        """Block ``n`` of a word, new, and its sum with C."""
        B, B_exp, C, C_exp = bc
        self.m.submodules[f"block{n}"] = part = Module()
        pipe, given = Pipe(part), self.state.payload

        def state(name: str, place: int) -> Timed:
            """Loaded from memory, or the result of the last step."""
            loaded = pipe.input(getattr(given, name)[place])
            if last is None:
                return loaded
            _, kept, loads = last
            return pipe.step(
                lambda load, a, b: Mux(load, a, b), loads, loaded,
                Timed(getattr(kept, name)[place], loads.stage),
            )  # fmt: skip

        h = [state("q", i) for i in range(n * self.size, (n + 1) * self.size)]
        first, parts, words = n % self.blocks * self.size, None, self.config.block_words
        if words > 1:
            begins, ends = pipe.input(~self.walk.inside), pipe.input(self.issue & self.walk.ends)
            parts = Parts(words, begins, ends)
        block = update(pipe, self.op, row, h, state("exp", n), B, B_exp, first, parts)
        return block, contract(pipe, block, C, C_exp)

    def _results(self, blocks: list[Updated], states: Queue, last: Any) -> Value:
        """Show new words, store those that are asked for, keep them for the next step.

        Returns whether the next word of a step that goes on may be issued.
        """
        m, unit, pipe, walk, made = self.m, self.unit, self.pipe, self.walk, self.stages.made
        new = Cat(*(q.value for b in blocks for q in b.q), *(b.exp.value for b in blocks))
        stored, here = Signal(), pipe.valid(self.issue, made)
        m.d.comb += [
            stored.eq(self.issue & walk.step.store),
            Value.cast(unit.probe_h).eq(Cat(here, new)),
        ]
        states.connect(stored, pipe.valid(stored, made), new)
        if last is None:
            return walk.step.load
        # What is counted is blocks, where they have several words: these come in their order.
        depth = head_words(self.config) // self.config.block_words
        port, level, going_on = last[0], Level(m, depth), Signal()
        m.d.comb += [
            going_on.eq(self.begins & walk.goes_on),
            level.put.eq(pipe.valid(going_on, made - self.stages.last_step)),
            level.take.eq(self.begins & ~walk.step.load),
            port.en.eq(here),
            port.addr.eq(self.ahead(walk.word, made).value),
            Value.cast(port.data).eq(new),
        ]
        return level.some

    def _count(self, on: Value, lost: Any, flags: list[list[Timed]]) -> None:
        """Sum flags of each word issued with ``on``, for its step's vector if that is new.

        Those of a group come in one cycle.
        """
        counted: list[list[Value]] = [[] for _ in lost]
        for group in flags:
            count = add_tree(self.pipe, group)
            who = self.ahead(self.who, count.stage)
            valid = self.pipe.valid(on, count.stage)
            for n, parts in enumerate(counted):
                mine = Timed(valid & (who.value == n), count.stage)  # recorded ones are above
                parts.append(self.pipe.step(lambda c, on: Mux(on, c, 0), count, mine).value)
        self.m.d.comb += [total.eq(sum(parts)) for total, parts in zip(lost, counted, strict=True)]

    def _leave(self, ys: Any, sums: list[Contraction], D: Timed, xs: list[Any]) -> None:
        """y of each row of a word, whose last word is issued."""
        pipe, fields, walk, op = self.pipe, self.fields, self.walk, self.op
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
        ys.connect(self, [y.value for y in values])
