"""Store of B and C of one layer, in words as wide as those of the state."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, exponents
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.layouts import command, i_stream, o_stream, payload

__all__ = ["BCStore", "bc_layout", "element_memory"]


def bc_layout(elements: int) -> data.StructLayout:
    """Word of B or C: elements, and the exponent of each block of 32, or of that of its part."""
    return data.StructLayout(
        {
            "q": data.ArrayLayout(signed(8), elements),
            "exp": data.ArrayLayout(unsigned(4), exponents(elements)),
        }
    )


class BCStore(wiring.Component):
    """Take B and C of all groups, then let them be read for as long as the token is not taken.

    One element per cycle. A group fills whole words, its last one padded with zeros, and has
    ``config.row_words`` of them. B may come before C or after it, each all groups in a run.

    ``o_ready`` offers its token in the cycle after the last element (``latency`` 1). Nothing of
    the next job is taken before it is; so whoever reads takes it when he has finished.

    Members
    -------
    command : In(stream of command("bc"))
    i : In(stream of BLOCKED)
        Elements of kind B and C.
    o_ready : Out(stream of 1)
        All of a job is stored.
    address : In(range(config.bc_words))
        Word to read: group·row_words + word.
    B, C : Out(bc_layout(config.bc_elements))
        The word at the address, one cycle later.
    busy : Out(1)
        A command is not finished, or its token is not taken.
    """

    latency, interval = 1, 1

    def __init__(self, config: ArchConfig) -> None:
        self.config = config
        self.depth = max(2, config.bc_words)
        layout = bc_layout(config.bc_elements)
        super().__init__(
            {
                "command": i_stream(command("bc", config)),
                "i": i_stream(payload("BLOCKED", config)),
                "o_ready": o_stream(1),
                "address": In(range(self.depth)),
                "B": Out(layout),
                "C": Out(layout),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = Job(m, self.command, self.busy)
        size = self.config.bc_elements
        taken = Signal()
        m.d.comb += [
            self.i.ready.eq(job.active & ~self.o_ready.valid),
            taken.eq(self.i.valid & self.i.ready),
        ]

        element = Signal(9)  # within its group
        element_end, group_end = Signal(9), Signal(4)  # last of a group; last group
        group, base = Signal(4), Signal(range(self.depth + 1))
        word = Signal(range(self.depth + 1))
        second = Signal()  # one of B and C is complete
        place = element[: size.bit_length() - 1]
        end_of_group, end_of_run = Signal(), Signal()
        m.d.comb += [
            end_of_group.eq(element == element_end),
            end_of_run.eq(end_of_group & (group == group_end)),
        ]
        with m.If(job.start):
            fields = self.command.payload
            m.d.sync += [element_end.eq(fields.d_state - 1), group_end.eq(fields.groups - 1)]
        with m.If(taken):
            m.d.sync += element.eq(element + 1)
            with m.If(place == size - 1):
                m.d.sync += word.eq(word + 1)
            with m.If(end_of_group):
                m.d.sync += [
                    element.eq(0),
                    group.eq(group + 1),
                    base.eq(base + self.config.row_words),
                    word.eq(base + self.config.row_words),
                ]
            with m.If(end_of_run):
                m.d.sync += [
                    group.eq(0), base.eq(0), word.eq(0), second.eq(~second),
                    self.o_ready.valid.eq(second),
                ]  # fmt: skip
        released = self.o_ready.valid & self.o_ready.ready
        with m.If(released):
            m.d.sync += self.o_ready.valid.eq(0)
        job.end(released)

        kinds = machine(self.config.kinds).kinds
        for name in ("B", "C"):
            ours = taken & (self.i.payload.kind == kinds[name])
            m.d.comb += Value.cast(getattr(self, name)).eq(
                element_memory(
                    m, name, self.config, write=ours, word=word, place=place,
                    q=self.i.payload.q, exp=self.i.payload.exp, address=self.address,
                )
            )  # fmt: skip
        return m


def element_memory(
    m: Module, name: str, config: ArchConfig, *, write: Value, word: Value, place: Value,
    q: Value, exp: Value, address: Value,
) -> Value:  # fmt: skip
    """Memory of words of elements and exponents; the first element of a word clears the others.

    Words of one block have an exponent together, since some of them may have no element.
    """
    size, shared = config.bc_elements, config.block_words
    low = shared.bit_length() - 1
    parts = []
    for part, count, width, at, value, first_bit in (
        ("q", size, 8, place, q, 0),
        ("exp", config.bc_blocks, 4, place[BLOCK.bit_length() - 1 :], exp, low),
    ):
        depth = max(2, config.bc_words >> first_bit)
        store = memory.Memory(shape=unsigned(count * width), depth=depth, init=[])
        m.submodules[f"{name}_{part}"] = store
        enter, read = store.write_port(granularity=width), store.read_port()
        first = place == 0
        chosen = Cat(at == n for n in range(count)) if count > 1 else C(1, 1)
        m.d.comb += [
            enter.addr.eq(word[first_bit:]),
            enter.data.eq(Cat(value if n == 0 else Mux(first, 0, value) for n in range(count))),
            enter.en.eq(Mux(write, Mux(first, ~C(0, count), chosen), 0)),
            read.addr.eq(address[first_bit:]),
        ]
        parts.append(read.data)
    return Cat(parts)
