"""Sequencer: walks the program and hands each unit its commands."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import fifo, memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import width
from lightmamba.arch.latency import COMMANDS
from lightmamba.hardware.machine.program import HEADER, Condition, Op, instructions
from lightmamba.hardware.rtl.layouts import instructed, o_stream
from lightmamba.hardware.rtl.pipe import any_bit

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Run one token, or a chain of them, from the program in its memory.

    An instruction is fetched word by word (a cycle each, while the units work) and dispatched two
    cycles later, when the queue of every unit that it starts has room. Where kinds of layers have
    instructions of their own, one with ``again`` n, and the one before it, are carried out n times
    more. A token ends when no unit is busy.

    Members
    -------
    program_write, program_index, program_data : In
        Write a 32-bit word of the program.
    start, fresh, head : In
        Pulse that starts a token, with its flags.
    token, position, chain : In
        Id and position of that token; how many follow it, each the arg-max of the last.
    next : In(u20)
        Arg-max of the last logits.
    units_busy, memory_pending : In
        Something is still under way in the units; in the memory, for which the last token waits.
    begin : Out
        Pulse at the beginning of each token, with ``begin_fresh`` and ``begin_head``.
    begin_token, begin_position : Out
        Id and position of the running token, stable from ``begin`` on.
    state, state_fresh : Out
        Pulse, once for each token: its state may be read, or is zero. With ``begin``, but for the
        tokens of a chain when the head of the one before is dispatched: whatever id that gives,
        the state that comes next is known.
    op : Out(u4), dispatch : Out
        The instruction that is handed out in this cycle.
    busy, done, illegal : Out
        A token runs; pulse at the end of the last one; an opcode was unknown (until reset).
    finished : Out(u32)
        Tokens finished since the last start.
    command_UNIT : Out(stream)
        Commands of each unit.
    """

    def __init__(self, config: ArchConfig) -> None:
        self.config, self.coded = config, instructions(config.kinds, wide=config.wide)
        self.words = self.coded.bits // 32
        super().__init__(
            {
                "program_write": In(1),
                "program_index": In(16),
                "program_data": In(32),
                "start": In(1),
                "fresh": In(1),
                "head": In(1),
                "token": In(20),
                "position": In(32),
                "chain": In(32),
                "next": In(20),
                "units_busy": In(1),
                "memory_pending": In(1),
                "begin": Out(1),
                "begin_fresh": Out(1),
                "begin_head": Out(1),
                "begin_token": Out(20),
                "begin_position": Out(32),
                "state": Out(1),
                "state_fresh": Out(1),
                "op": Out(4),
                "dispatch": Out(1),
                "busy": Out(1),
                "done": Out(1),
                "illegal": Out(1),
                "finished": Out(32),
            }
            | {f"command_{unit}": o_stream(instructed(unit, config)) for unit in self.coded.units}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word, fetched = self._fetch(m)
        op, when = word[:4], word[4:6]
        rooms = self._queues(m, word, op)

        wanted = Signal()  # the condition holds
        m.d.comb += wanted.eq(
            (when == Condition.ALWAYS)
            | ((when == Condition.HEAD) & self.begin_head)
            | ((when == Condition.NO_HEAD) & ~self.begin_head)
        )
        room = Signal()  # for an instruction with commands
        with m.Switch(op):
            for known, units in self.coded.starts.items():
                with m.Case(known):
                    m.d.comb += room.eq(Cat(rooms[unit] for unit in units).all() if units else 0)
        m.d.comb += self.op.eq(op)
        # What is known of an instruction is a cycle old: room that there was is still there.
        held, go, skip = Signal(), Signal(), Signal()
        m.d.sync += [
            held.eq(fetched & ~self._take & ~self.begin), go.eq(wanted & room), skip.eq(~wanted)
        ]  # fmt: skip

        left, drained = Signal(32), Signal()
        m.d.sync += drained.eq(~self.units_busy)
        follows, asked = Signal(), Signal()  # another token; its state has been asked for
        early = self.dispatch & (op == Op.HEAD) & follows
        m.d.sync += follows.eq(left != 0)
        m.d.comb += [
            self.state.eq(early | (self.begin & ~asked)),
            self.state_fresh.eq(self.begin & self.begin_fresh),
        ]
        with m.If(early):
            m.d.sync += asked.eq(1)
        with m.Elif(self.begin):
            m.d.sync += asked.eq(0)
        with m.FSM():
            with m.State("WAIT"), m.If(self.start):
                m.d.sync += [
                    self.busy.eq(1),
                    self.finished.eq(0),
                    self.begin_fresh.eq(self.fresh),
                    self.begin_head.eq(self.head),
                    self.begin_token.eq(self.token),
                    self.begin_position.eq(self.position),
                    left.eq(self.chain),
                    asked.eq(0),  # in a chain that an unknown opcode ended it may still be 1
                ]
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += self.begin.eq(1)
                m.next = "RUN"
            with m.State("RUN"), m.If(held):
                with m.If(go):
                    m.d.comb += [self._take.eq(1), self.dispatch.eq(1)]
                with m.Elif(skip):
                    m.d.comb += self._take.eq(1)
                with m.Elif(op == Op.END):
                    m.d.comb += self._take.eq(1)
                    m.next = "SETTLE"
                with m.Elif(op > max(self.coded.starts)):
                    m.d.sync += self.illegal.eq(1)
                    m.d.comb += self._take.eq(1)
                    m.next = "SETTLE"
            with m.State("SETTLE"):  # the last command reaches its unit, `drained` follows
                m.next = "LATER"
            with m.State("LATER"):
                m.next = "DRAIN"
            with m.State("DRAIN"), m.If(drained & ~self.units_busy):
                with m.If((left != 0) & self.begin_head & ~self.illegal):
                    m.d.sync += [
                        left.eq(left - 1),
                        self.finished.eq(self.finished + 1),
                        self.begin_token.eq(self.next),
                        self.begin_position.eq(self.begin_position + 1),
                        self.begin_fresh.eq(0),
                    ]
                    m.next = "BEGIN"
                with m.Elif(~self.memory_pending | self.illegal):  # nobody writes what was left out
                    m.d.sync += [self.busy.eq(0), self.finished.eq(self.finished + 1)]
                    m.d.comb += self.done.eq(1)
                    m.next = "WAIT"
        return m

    def _fetch(self, m: Module) -> tuple[Value, Signal]:
        """Instruction register, and whether it holds one; ``_take`` asks for the next."""
        words = self.words
        depth = self.config.program * words
        m.submodules.program = program = memory.Memory(shape=unsigned(32), depth=depth, init=[])
        write, read = program.write_port(), program.read_port()
        m.d.comb += [
            write.en.eq(self.program_write),
            write.addr.eq(self.program_index),
            write.data.eq(self.program_data),
        ]
        self._take = Signal()
        word = Signal(self.coded.bits, reset_less=True)
        address, count = Signal(range(depth + 1)), Signal(range(words + 2))
        fetched = Signal()
        m.d.comb += [read.addr.eq(address), fetched.eq(count == words + 1)]
        # A word arrives in the cycle after its address; the first cycle only sends an address.
        with m.If(self.begin):
            m.d.sync += [address.eq(0), count.eq(0)]
        with m.Elif(~fetched):
            m.d.sync += count.eq(count + 1)
            with m.If(count != words):
                m.d.sync += address.eq(address + 1)
            with m.If(count != 0):
                m.d.sync += word.eq(Cat(word[32:], read.data))
        with m.Elif(self._take):
            m.d.sync += count.eq(0)
        if self.coded.graph.instructions:
            self._back(m, word, address)
        return word, fetched

    def _back(self, m: Module, word: Value, address: Signal) -> None:
        """Take the address of the next instruction back by two while this one asks for it."""
        again = word[width(HEADER) : width(self.coded.header)]
        times = Signal.like(again)  # that it has been
        with m.If(self.begin):
            m.d.sync += times.eq(0)
        with m.Elif(self._take & again.any()):
            m.d.sync += times.eq(0)
            with m.If(times != again):
                m.d.sync += [times.eq(times + 1), address.eq(address - 2 * self.words)]

    def _queues(self, m: Module, word: Value, op: Value) -> dict[str, Signal]:
        """One queue per unit, filled by a dispatch; whether each has room."""
        rooms = {}
        for unit in self.coded.units:
            bits = width(self.coded.graph.commands[unit])
            queue = fifo.SyncFIFO(width=bits, depth=COMMANDS)
            m.submodules[f"queue_{unit}"] = queue
            target = getattr(self, f"command_{unit}")
            rooms[unit] = queue.w_rdy
            places = {
                o: self.coded.offsets(o)[unit]
                for o, units in self.coded.starts.items()
                if unit in units
            }
            record: Value = word[:bits]
            for known, at in places.items():
                record = Mux(op == known, word[at : at + bits], record)
            m.d.comb += [
                queue.w_data.eq(record),
                queue.w_en.eq(self.dispatch & any_bit(Cat(op == o for o in places))),
                target.valid.eq(queue.r_rdy),
                Value.cast(target.payload).eq(queue.r_data),
                queue.r_en.eq(target.ready),
            ]
        return rooms
