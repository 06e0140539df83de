"""y of the state-space unit: row by row as it comes, or head by head after the last step."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import memory

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.latency import Y_HEADS
from lightmamba.hardware.rtl.job import Job
from lightmamba.hardware.rtl.mamba2.ssm_heads import RowPlace, cut, row_bits
from lightmamba.hardware.rtl.mamba2.ssm_walk import Level
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed, select

__all__ = ["HeadResults", "RowResults", "results_of"]


def results_of(config: ArchConfig) -> Any:
    """Class that takes y: ``(m, unit, job)`` makes it, ``latency`` is from y to ``o_y``."""
    return HeadResults if config.whole_heads else RowResults


class RowResults:
    """y of each row, in a queue.

    Parameters
    ----------
    m : Module
    unit : Ssm
        Rows go to its ``o_y``.
    job : Job

    Attributes
    ----------
    room, busy : Signal
        A row's last word may be issued; rows are in flight or wait.
    """

    latency = 2

    def __init__(self, m: Module, unit: Any, job: Job) -> None:
        self._queue = Queue(m, unit.o_y, latency=unit.stages.y)
        self.room, self.busy = self._queue.room, self._queue.busy

    def connect(self, path: Any, values: list[Any]) -> None:
        """Take y of a row, whose last word was issued ``stages.y`` cycles ago."""
        ends = path.issue & path.walk.last_word
        self._queue.connect(ends, path.pipe.valid(ends, path.stages.y), Cat(values))


class HeadResults:
    """y of a few heads, of T vectors; rows of a head leave in order when its last step is done.

    Parameters
    ----------
    m : Module
    unit : Ssm
        Rows go to its ``o_y``, one per cycle.
    job : Job

    Attributes
    ----------
    room, busy : Signal
        A head may be issued; rows or heads wait.
    """

    latency = 5  # cycles from the last y of a head to its first row on ``o_y``

    def __init__(self, m: Module, unit: Any, job: Job) -> None:
        config: ArchConfig = unit.config
        rows, tokens, bits = config.word_rows, config.tokens, unit.op.out.bits
        # Heads whose last word is issued; those whose last y is here.
        self._begun, self._whole = Level(m, Y_HEADS), Level(m, Y_HEADS)
        begun, whole = self._begun, self._whole
        self._bank = Signal(range(Y_HEADS), name="y_issued")  # of the head that is being issued
        self.room, self.busy = begun.room, Signal()
        queue = Queue(m, unit.o_y, latency=2)
        row = RowPlace(m, unit, job, "y", Y_HEADS)
        draw, drawn = Signal(), Signal()  # a row leaves; it is its head's last one
        m.d.comb += [
            draw.eq(whole.some & queue.room),
            drawn.eq(draw & row.last),
            whole.take.eq(drawn),
            begun.take.eq(drawn),
            self.busy.eq(queue.busy | begun.some),
        ]
        m.d.sync += self._bank.eq(self._bank + begun.put)
        row.step(draw, drawn)

        depth = Y_HEADS << row_bits(config)
        store = memory.Memory(shape=tokens * rows * bits, depth=depth, init=[])
        m.submodules.y = store
        self._write, read = store.write_port(granularity=rows * bits), store.read_port()
        m.d.comb += read.addr.eq(row.address)
        pipe = Pipe(m)
        place = pipe.input(row.place)
        values = [
            pipe.step(
                lambda at, *v: select(m, at, list(v)), place,
                *(Timed(v, 1) for v in cut(word, bits)), shape=signed(bits),
            )
            for word in cut(read.data, rows * bits)
        ]  # fmt: skip
        queue.connect(draw, pipe.valid(draw, 2), Cat(v.value for v in values))

    def connect(self, path: Any, values: list[Any]) -> None:
        """Take y of a word's rows, whose last word was issued ``stages.y`` cycles ago."""
        m, pipe, walk, stage = path.m, path.pipe, path.walk, path.stages.y
        ends, end_of_head = path.issue & walk.last_word, path.issue & walk.end_of_head
        here, write = pipe.valid(ends, stage), self._write
        who, address = (path.ahead(v, stage).value for v in (path.who, Cat(walk.row, self._bank)))
        tokens = path.config.tokens
        m.d.comb += [
            self._begun.put.eq(end_of_head),
            self._whole.put.eq(pipe.valid(end_of_head, stage)),
            write.en.eq(Cat(here & (who == n) for n in range(tokens))),
            write.addr.eq(address),
            write.data.eq(Cat(values).replicate(tokens)),
        ]
