"""The states of several sequences in the convolution: what comes in, and what is kept."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from lightmamba.arch.contract import TAPS
from lightmamba.hardware.rtl.passes import slots_of, vectors_of
from lightmamba.hardware.rtl.pipe import Pipe, Queue, Timed, select

__all__ = ["Slots"]

OLD = TAPS - 1  # inputs before a vector's own
POSITION_BITS = 5  # of a number up to 7 + 8 + 4, and of -3, which is beyond them


class Slots:
    """The states of all slots of a pass, taken together: windows, and what the next pass needs.

    Q of a slot is the last three inputs before its vectors, then the inputs of its vectors. The
    vector at place p convolves Q[p] to Q[p + 3]. A channel's state comes as bytes: the last three
    inputs of tokens that were certain, oldest first, then those of undecided tokens; the first
    byte of Q is the one at ``replay``. Byte j of the state that goes is Q[commit + j], 0 where
    there is none. Values that depend only on the pass are in registers, three cycles after it came.

    Parameters
    ----------
    m : Module
    unit : Conv
        With its streams of states, and the contents of the pass.
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

    def __init__(self, m: Module, unit: Any, latency: int) -> None:
        self.m, self.config = m, unit.config
        self.slots = [self._steady(each, f"slot{n}") for n, each in enumerate(slots_of(unit))]
        self.vectors = [self._steady(each, f"vector{n}") for n, each in enumerate(vectors_of(unit))]
        count = range(self.config.tokens)
        self.given = [getattr(unit, f"i_state{n}") for n in count]
        self.queues = [Queue(m, getattr(unit, f"o_state{n}"), latency=latency) for n in count]
        self.used = Cat(slot.used for slot in self.slots)
        self.valid, self.ready, self.room, self.busy = (Signal() for _ in range(4))
        m.d.comb += [
            self.valid.eq((Cat(i.valid for i in self.given) | ~self.used).all()),
            Cat(i.ready for i in self.given).eq(Mux(self.ready & self.valid, self.used, 0)),
            self.room.eq(Cat(queue.room for queue in self.queues).all()),
            self.busy.eq(Cat(queue.busy for queue in self.queues).any()),
        ]

    def _steady(self, value: Any, name: str) -> Any:
        """Register a value that depends only on the pass; it is constant at one token per pass."""
        if self.config.tokens == 1:
            return value
        register: Any = Signal(value.shape(), name=name)
        self.m.d.sync += register.eq(value)
        return register

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
        """Inputs of the convolution of every vector, a cycle after the inputs of all."""
        found = []
        for n, old in enumerate(self._of_vector):
            window = [self._tap(pipe, new, n, tap, old[tap:]) for tap in range(OLD)]
            found.append([*window, pipe.delay(new[n], window[0].stage)])
        return found

    def _tap(self, pipe: Pipe, new: list[Timed], vector: int, tap: int, old: list[Timed]) -> Timed:
        """One of a vector's window: an old input, or that of the vector ``OLD - tap`` before."""
        place, before = self.vectors[vector].place, vector - (OLD - tap)
        if before < 0:
            # A vector's place is at most its number.
            return pipe.delay(self._pick(pipe, place, old[: vector + 1]), new[0].stage + 1)
        is_old = self._steady(place < OLD - tap, f"old{vector}_{tap}")
        return pipe.step(
            lambda x, *v: Mux(is_old, select(self.m, place, list(v)), x), new[before], *old
        )

    def kept(self, pipe: Pipe, new: list[Timed]) -> list[Timed]:
        """State of every slot's channel for the next pass, two cycles after the inputs of all."""
        found = []
        for n in range(len(self.slots)):
            mine = self._steady(Cat(v.used & (v.slot == n) for v in self.vectors), f"mine{n}")
            bytes_ = [self._byte(pipe, new, n, mine, place) for place in range(self.config.window)]
            found.append(pipe.comb(lambda *v: Cat(*v), *bytes_))
        return found

    def _byte(self, pipe: Pipe, new: list[Timed], number: int, mine: Value, place: int) -> Timed:
        """A byte of a slot's state; ``mine`` are its vectors."""
        m, slot, old = self.m, self.slots[number], self._of_slot[number][place:]
        # The vector whose input it is.
        at = self._steady((slot.first + slot.commit + place - OLD)[:POSITION_BITS],
                          f"at{number}_{place}")  # fmt: skip
        some = self._steady((at < len(new)) & select(m, at, list(mine)), f"some{number}_{place}")
        late = self._pick(pipe, at, new)
        if not old:
            return pipe.step(lambda x: Mux(some, x, 0), late, shape=8)
        is_old = self._steady(slot.commit + place < OLD, f"early{number}_{place}")
        early = pipe.delay(self._pick(pipe, slot.commit, old), late.stage - 1)
        return pipe.step(
            lambda x, e: Mux(is_old, e, Mux(some, x, 0)), late, pipe.settle(early), shape=8
        )

    def _pick(self, pipe: Pipe, index: Value, values: list[Timed]) -> Timed:
        """One of the values, a cycle later; ``index`` is as good as constant."""
        return pipe.step(lambda *v: select(self.m, index, list(v)), *values)
