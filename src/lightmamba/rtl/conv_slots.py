"""The states of several sequences in the convolution: what comes in, and what is kept."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import TAPS
from lightmamba.arch.passes import SLOT, VECTOR
from lightmamba.rtl.layouts import record
from lightmamba.rtl.pipe import Pipe, Queue, Timed, select

__all__ = ["Slots"]

OLD = TAPS - 1  # inputs before a vector's own
POSITION_BITS = 5  # of a number up to 7 + 8 + 4, and of -3, which is beyond them


class Slots:
    """The states of all slots of a pass, taken together: windows, and what the next pass needs.

    Q of a slot is the last three inputs before its vectors, then the inputs of its vectors. The
    vector at place p convolves Q[p] to Q[p + 3]. A channel's state comes as bytes: the last three
    inputs of tokens that were certain, oldest first, then those of undecided tokens; the first
    byte of Q is the one at ``replay``. Byte j of the state that goes is Q[commit + j], 0 where
    there is none. What depends on the pass alone stands in registers, three cycles after it came.

    Parameters
    ----------
    m : Module
    config : ArchConfig
    slots, vectors : views of SLOT, of VECTOR
        Stable from a command's transfer until it is finished.
    given, taken : streams of u64
        States of the slots as they come and as they go, a word of ``8 / config.window`` channels.
    latency : int
        Cycles from the issue of a channel to a word of the state that goes.

    Attributes
    ----------
    valid, ready : Signal
        Of a stream that has the states of all used slots.
    room, busy : Signal
        Of the queues of states that go, all of them.
    queues : list of Queue
    used : Value
        Slots that there are.
    """

    def __init__(
        self, m: Module, config: ArchConfig, slots: Any, vectors: Any, given: list[Any],
        taken: list[Any], latency: int,
    ) -> None:  # fmt: skip
        self.m, self.config, self.given = m, config, given
        self.slots, self.vectors = _held(m, SLOT, slots), _held(m, VECTOR, vectors)
        self.queues = [Queue(m, o, latency=latency) for o in taken]
        self.used = Cat(slot.used for slot in self.slots)
        self.valid, self.ready, self.room, self.busy = (Signal() for _ in range(4))
        m.d.comb += [
            self.valid.eq((Cat(i.valid for i in given) | ~self.used).all()),
            Cat(i.ready for i in given).eq(Mux(self.ready & self.valid, self.used, 0)),
            self.room.eq(Cat(queue.room for queue in self.queues).all()),
            self.busy.eq(Cat(queue.busy for queue in self.queues).any()),
        ]

    def take(self, pipe: Pipe, odd: Value) -> None:
        """Take a channel, the ``odd`` one of a word: the old inputs of slots, then of vectors."""
        undecided = self.config.undecided
        self._of_slot = []
        for slot, i in zip(self.slots, self.given, strict=True):
            word = i.payload
            if self.config.window == TAPS:
                word = Mux(odd, word[32:], word[:32])
            bytes_ = [
                pipe.step(lambda v: v, pipe.input(word.word_select(n, 8).as_signed()))
                for n in range(OLD + undecided)
            ]
            self._of_slot.append(
                [self._pick(pipe, slot.replay, bytes_[n : n + undecided + 1]) for n in range(OLD)]
            )
        self._of_vector = [
            [self._pick(pipe, v.slot, [old[n] for old in self._of_slot]) for n in range(OLD)]
            for v in self.vectors
        ]

    def windows(self, pipe: Pipe, new: list[Timed]) -> list[list[Timed]]:
        """What every vector convolves, a cycle after the inputs of all."""
        found = []
        for n, old in enumerate(self._of_vector):
            window = [self._tap(pipe, new, n, tap, old[tap:]) for tap in range(OLD)]
            found.append([*window, pipe.delay(new[n], window[0].stage)])
        return found

    def _tap(self, pipe: Pipe, new: list[Timed], vector: int, tap: int, old: list[Timed]) -> Timed:
        """One of a vector's window: an old input, or that of the vector ``OLD - tap`` before."""
        place, before = self.vectors[vector].place, vector - (OLD - tap)
        if before < 0:
            return pipe.delay(self._pick(pipe, place, old), new[0].stage + 1)
        is_old = Signal(name=f"old{vector}_{tap}")
        self.m.d.sync += is_old.eq(place < OLD - tap)
        return pipe.step(
            lambda x, *v: Mux(is_old, select(self.m, place, list(v)), x), new[before], *old
        )

    def kept(self, pipe: Pipe, new: list[Timed]) -> list[Timed]:
        """State of every slot's channel for the next pass, two cycles after the inputs of all."""
        found = []
        for n in range(len(self.slots)):
            mine = Signal(len(self.vectors), name=f"mine{n}")
            self.m.d.sync += mine.eq(Cat(v.used & (v.slot == n) for v in self.vectors))
            bytes_ = [self._byte(pipe, new, n, mine, place) for place in range(self.config.window)]
            found.append(pipe.comb(lambda *v: Cat(*v), *bytes_))
        return found

    def _byte(self, pipe: Pipe, new: list[Timed], number: int, mine: Value, place: int) -> Timed:
        """A byte of a slot's state; ``mine`` are its vectors."""
        m, slot, old = self.m, self.slots[number], self._of_slot[number][place:]
        at = Signal(POSITION_BITS, name=f"at{number}_{place}")  # the vector whose input it is
        some = Signal(name=f"some{number}_{place}")
        m.d.sync += [
            at.eq(slot.first + slot.commit + place - OLD),
            some.eq((at < len(new)) & select(m, at, list(mine))),
        ]
        late = self._pick(pipe, at, new)
        if not old:
            return pipe.step(lambda x: Mux(some, x, 0), late, shape=8)
        is_old = Signal(name=f"early{number}_{place}")
        m.d.sync += is_old.eq(slot.commit + place < OLD)
        early = pipe.delay(self._pick(pipe, slot.commit, old), late.stage - 1)
        return pipe.step(
            lambda x, e: Mux(is_old, e, Mux(some, x, 0)), late, pipe.settle(early), shape=8
        )

    def _pick(self, pipe: Pipe, index: Value, values: list[Timed]) -> Timed:
        """One of the values, a cycle later; ``index`` is as good as constant."""
        return pipe.step(lambda *v: select(self.m, index, list(v)), *values)


def _held(m: Module, fields: Any, told: Any) -> list[Any]:
    """Registers of what is told of a pass."""
    name = fields[-1].name
    held: list[Any] = [Signal(record(fields), name=f"{name}{n}") for n in range(len(told))]
    m.d.sync += [mine.eq(one) for mine, one in zip(held, told, strict=True)]
    return held
