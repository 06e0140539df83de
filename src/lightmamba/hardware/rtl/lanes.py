"""Lanes: one datapath per memory channel, all in step, and the control that they share."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import GROUP
from lightmamba.hardware.machine.spine import PARTS
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.kept import KEPT, KeptSums
from lightmamba.hardware.rtl.lane import Lane, control, delays, lane_latency
from lightmamba.hardware.rtl.layouts import command, i_stream, o_stream
from lightmamba.hardware.rtl.packed import PACKED_BITS, LanePair, pack
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.slices import Slices, wide

__all__ = ["Lanes"]


class Lanes(wiring.Component):
    """Multiply a matrix, spread over the lanes, with the vectors in the activation buffer.

    Per slot, per part, per word one beat of every lane, or with ``split`` two, of the upper and of
    the lower nibbles of its weights; with ``twice`` each beat is used in two cycles running, for
    the upper and the lower nibbles of the activations. One beat per cycle, sustained; where nothing
    is waited for, the sums of a part are valid on ``o`` ``latency`` cycles after the transfer of
    its last beat (one more with ``twice``). A scale beat precedes every ``scale_period`` words of
    weights of a job, the first included. Slots, words and parts are at least 1; the words of a part
    are whole groups of 128.

    No beat is taken that the job does not need. The vectors' memory is released with the last beat.
    The vectors of a pass go in step: whatever is said of one vector holds for all of them.

    Where sums of several vectors are added (``added_channels``), a job may ``hold`` the vectors for
    the next one, take only the upper ``half`` of their activations, and ``keep`` its sums, which
    are added to those of the next jobs; the one that does not keep them gives the totals.

    Source: ``numerics.linear.Projection``.

    Parameters
    ----------
    config : ArchConfig
    buffer : Slices of ActivationBuffer
        One for each token; its read side is driven from here.

    Members
    -------
    command : In(stream of command("lanes"))
    i_beat : In(stream of port_bits) per lane
        Weights and their scales.
    o : Out(stream of lanes x signed(acc_bits) per token)
        Sums of a part, one row per lane.
    busy : Out(1)
        A command is not finished, or its results are not taken.
    multiplying, scale, wait_activation, wait_memory, wait_epilogue : Out(1)
        What this cycle goes to, at most one of them: a beat of weights, a beat of scales, or what
        is missing. None is set where there is nothing to issue.
    """

    interval = 1

    command: Any
    i_beat: Any
    o: Any
    busy: Any
    multiplying: Any
    scale: Any
    wait_activation: Any
    wait_memory: Any
    wait_epilogue: Any

    def __init__(self, config: ArchConfig, buffer: Slices) -> None:
        self.config = config
        self.buffer: Any = buffer
        self.steps = lane_latency(config)  # from an issue to the lanes' sums
        self.results = self.steps + (KEPT if config.added_channels else 0)  # to what leaves
        self.latency = 1 + self.results + 2
        sums = data.ArrayLayout(signed(config.acc_bits), config.lanes)
        super().__init__(
            {
                "command": i_stream(command("lanes", config)),
                "i_beat": In(stream.Signature(config.port_bits)).array(config.lanes),
                "o": o_stream(wide(sums, config.tokens)),
                "busy": Out(1),
                "multiplying": Out(1),
                "scale": Out(1),
                "wait_activation": Out(1),
                "wait_memory": Out(1),
                "wait_epilogue": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self.config
        job = Job(m, self.command, self.busy)
        queue = Queue(m, self.o, latency=self.results, extra=PARTS - self.results - 4)

        multiplying, scale = Signal(), Signal()  # a beat of weights, of scales is issued
        working = Signal()  # beats of the job are still to be issued
        loaded, operand = self._operands(m, job, multiplying)
        finishing = Signal()  # nothing of the job comes after this
        used, replaced = Signal(), Signal()  # beats have done their work; and the next are taken
        due = Signal()  # the next beat is one of scales
        here = self._beats(m, working, used, replaced)
        # What gates every lane is one lookup: `here` implies `working`.
        room, last_use = queue.room, finishing
        if c.added_channels:
            room, last_use = room | job.fields.keep, finishing & ~job.fields.hold
        sure = loaded & (~operand.last | room)
        m.d.comb += [
            scale.eq(here & due),
            multiplying.eq(here & ~due & sure),
            used.eq(here & (due | (sure & ~operand.upper))),
            replaced.eq(here & (due | (sure & ~operand.keep))),
            finishing.eq(multiplying & operand.final),
        ]

        run: Any = c.scale_period  # beats of weights from one of scales to the next
        if c.split:
            run = Mux(job.fields.split, 2 * run, run)
        period = Signal(range((1 + c.split) * c.scale_period + 1))  # until one of scales is due
        with m.If(job.start):
            m.d.sync += [working.eq(1), due.eq(1)]
        with m.Elif(finishing):
            m.d.sync += working.eq(0)
        with m.Elif(scale):
            m.d.sync += [period.eq(run), due.eq(0)]
        with m.Elif(used):
            m.d.sync += [period.eq(period - 1), due.eq(period == 1)]
        m.d.comb += [self.buffer.release.eq(last_use), self.buffer.gated.eq(job.fields.gated)]
        if c.added_channels:  # the next one begins while results leave
            job.end(~working)
            m.d.comb += self.busy.eq(job.active | self.command.valid | queue.busy)
        else:
            job.end(~working & ~queue.busy)

        m.d.comb += [self.multiplying.eq(multiplying), self.scale.eq(scale)]
        with m.If(working & ~scale & ~multiplying):
            m.d.comb += [
                self.wait_activation.eq(~due & ~loaded),
                self.wait_memory.eq((due | loaded) & ~here),
                self.wait_epilogue.eq(~due & loaded & here),
            ]

        fields = self._control(m, job, scale, multiplying, operand)
        lanes = [Lane(c) for _ in range(c.lanes)]
        for n, lane in enumerate(lanes):
            m.submodules[f"lane{n}"] = lane
            m.d.comb += lane.beat.eq(self._beat[n])
            if not c.packed:
                m.d.comb += Value.cast(lane.q).eq(operand.q)
            m.d.comb += Value.cast(lane.control).eq(fields)
        if c.packed:
            self._multipliers(m, lanes, operand.q)
        issue = multiplying & operand.last
        sums = Cat(lane.sum[n] for n in range(c.tokens) for lane in lanes)
        if c.added_channels:
            self._keep(m, job, queue, issue, finishing, sums)
        else:
            queue.connect(issue, Pipe(m).valid(issue, self.steps), sums)
        return m

    def _keep(
        self, m: Module, job: Job, queue: Queue, issue: Value, finishing: Value, sums: Value
    ) -> None:
        """Sums of a job that keeps them stay; those of out_proj leave with what was kept."""
        m.submodules.kept = kept = KeptSums(self.config)
        pipe = Pipe(m)
        said = {"out": job.fields.gated, "keep": job.fields.keep, "final": finishing}
        m.d.comb += [
            kept.valid.eq(pipe.valid(issue, self.steps)),
            kept.sums.as_value().eq(sums),
            *(
                getattr(kept, name).eq(pipe.delay(pipe.input(value), self.steps).value)
                for name, value in said.items()
            ),
        ]
        queue.connect(issue & ~job.fields.keep, kept.emits, kept.o.as_value())

    def _multipliers(self, m: Module, lanes: list[Lane], q: Value) -> None:
        """Packed multipliers of every two lanes; activations are packed once for all of them."""
        c = self.config
        packed = Signal(data.ArrayLayout(PACKED_BITS, c.tokens // 2 * c.products))
        for n, value in enumerate(packed):
            first = n + n // c.products * c.products  # of the lower one of two tokens
            factors = (q.word_select(k, c.multiplier_bits) for k in (first, first + c.products))
            m.d.comb += value.eq(pack(*factors))
        for n in range(0, c.lanes, 2):
            m.submodules[f"pair{n // 2}"] = pair = LanePair(c)
            m.d.comb += Value.cast(pair.q).eq(Value.cast(packed))
            for side in range(2):
                m.d.comb += [
                    pair.beat[side].eq(self._beat[n + side]),
                    lanes[n + side].dots.eq(pair.dots[side]),
                ]

    def _beats(self, m: Module, working: Value, used: Value, replaced: Value) -> Signal:
        """Whether all lanes hold a beat (``_beat``).

        A beat is replaced in the cycle in which it is used, unless the job ends with it.
        """
        count = self.config.lanes
        self._beat = [
            Signal(self.config.port_bits, reset_less=True, name=f"beat{n}") for n in range(count)
        ]
        full, here = Signal(count), Signal()
        for n, (i, beat) in enumerate(zip(self.i_beat, self._beat, strict=True)):
            m.d.comb += i.ready.eq(replaced | (working & ~full[n]))
            with m.If(i.ready):
                m.d.sync += [beat.eq(i.payload), full[n].eq(i.valid)]
            with m.Elif(used):
                m.d.sync += full[n].eq(0)
        offered = Cat(i.valid for i in self.i_beat)
        m.d.sync += here.eq(
            Mux(replaced, offered.all(), working & ~used & (full | offered).all())
        )  # fmt: skip
        return here

    def _operands(self, m: Module, job: Job, multiplying: Value) -> tuple[Signal, Any]:
        """Walk the vector ahead of the beats: whether an operand is there, and what it is.

        Two registers follow the address: the memory's own, and the operand's. Each takes the next
        when it is empty or its content goes on.
        """
        c, buffer, given = self.config, self.buffer, self.command.payload
        q, code = (Cat(*map(Value.cast, member)) for member in (buffer.q, buffer.code))
        operand = Signal(
            data.StructLayout(
                {
                    "q": c.tokens * c.products * c.multiplier_bits,
                    "code": len(code),
                    "upper": 1,  # the lower nibbles follow, with the same beat
                    "part_end": 1,
                    "last": 1,  # nothing of the part comes after this
                    "final": 1,  # nor of the job
                    "keep": 1,  # the beat is not replaced after this
                    # The beat of the weights' lower nibbles follows.
                    **({"high": 1} if c.split else {}),
                }
            ),
            reset_less=True,
        )
        read, loaded = Signal(), Signal()  # the memory's register, the operand's hold something
        load, leaves, second, upper = Signal(), Signal(), Signal(), Signal()
        again = upper  # the word is needed once more
        if c.split:
            low, high = Signal(), Signal()  # the beat is of lower nibbles, of upper ones
            m.d.comb += high.eq(job.fields.split & ~low)
            again = upper | high
        m.d.comb += [
            upper.eq(job.fields.twice & ~second),
            load.eq(read & (~loaded | multiplying)),
            leaves.eq(load & ~again),
            buffer.upper.eq(upper | job.fields.half if c.added_channels else upper),
        ]

        walking = Signal()
        left = {name: Signal.like(given[name], name=name) for name in ("words", "parts", "slots")}
        ends = {name: count == 1 for name, count in left.items()}
        part_end, slot_end, job_end = Signal(), Signal(), Signal()
        m.d.comb += [
            buffer.enable.eq(walking & buffer.filled & (~read | leaves)),
            part_end.eq(ends["words"]),
            slot_end.eq(part_end & ends["parts"]),
            job_end.eq(slot_end & ends["slots"]),
        ]
        address = Signal.like(buffer.address)
        m.d.comb += buffer.address.eq(address)
        read_ends = Signal(2, reset_less=True)
        if c.added_channels:
            with m.If(buffer.enable & slot_end):
                m.d.sync += buffer.words.eq(address + 1)
        with m.If(job.start):
            m.d.sync += [walking.eq(1), address.eq(0), second.eq(0)]
            m.d.sync += [count.eq(given[name]) for name, count in left.items()]
        with m.Elif(buffer.enable):
            m.d.sync += [
                address.eq(Mux(slot_end, 0, address + 1)),
                left["words"].eq(Mux(part_end, job.fields.words, left["words"] - 1)),
                read_ends.eq(Cat(part_end, job_end)),
            ]
            with m.If(part_end):
                m.d.sync += left["parts"].eq(Mux(slot_end, job.fields.parts, left["parts"] - 1))
            with m.If(slot_end):
                m.d.sync += left["slots"].eq(left["slots"] - 1)
            with m.If(job_end):
                m.d.sync += walking.eq(0)

        with m.If(buffer.enable):
            m.d.sync += read.eq(1)
        with m.Elif(leaves):
            m.d.sync += read.eq(0)
        with m.If(load):
            m.d.sync += [
                loaded.eq(1),
                second.eq(upper),
                operand.q.eq(q),
                operand.code.eq(code),
                operand.upper.eq(upper),
                operand.part_end.eq(read_ends[0]),
                operand.last.eq(read_ends[0] & ~again),
                operand.final.eq(read_ends[1] & ~again),
                operand.keep.eq(read_ends[1] | upper),
            ]
            if c.split:
                m.d.sync += [
                    operand.high.eq(high),
                    operand.keep.eq((read_ends[1] & ~high) | upper),
                ]
                with m.If(~upper):
                    m.d.sync += low.eq(high)
        with m.Elif(multiplying):
            m.d.sync += loaded.eq(0)
        return loaded, operand

    def _control(
        self, m: Module, job: Job, scale: Value, multiplying: Value, operand: Any
    ) -> Value:
        """Control signals of all lanes: counted once, delayed once."""
        c = self.config
        beat = Signal(range(max(2, GROUP // c.products)))  # of its group
        group = Signal(range(c.port_bits // 8))  # of its scale beat
        fresh = Signal()  # the group is the first of its part
        finish = Signal()
        again, count = operand.upper, operand.upper
        first = (beat == 0) & (operand.upper | ~job.fields.twice)
        if c.split:
            again, count = operand.upper | operand.high, operand.upper + operand.high
            first &= operand.high | ~job.fields.split
        m.d.comb += finish.eq(multiplying & ~again & (beat == GROUP // c.products - 1))
        with m.If(job.start):
            m.d.sync += [beat.eq(0), fresh.eq(1)]
        with m.Elif(multiplying & ~again):
            m.d.sync += beat.eq(Mux(finish, 0, beat + 1))
        with m.If(scale):
            m.d.sync += group.eq(0)
        with m.Elif(finish):
            m.d.sync += [group.eq(group + 1), fresh.eq(operand.part_end)]

        pipe, fields = Pipe(m), Signal(control(c))
        issued = {
            "load": scale,
            "group": group,
            "code": operand.code,
            "upper": count,
            "add": multiplying,
            "first": first,
            "finish": finish,
            "fresh": fresh,
        }
        for name, stage in delays(c).items():
            field = pipe.settle(pipe.delay(pipe.input(issued[name]), stage - 1))
            m.d.comb += Value.cast(fields[name]).eq(field.value)
        return Value.cast(fields)
