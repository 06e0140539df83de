"""Sequences on a device, by hypothesis: any operation in any order, next to the engine."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.common.passes import Pass, Slot, split
from lightmamba.device.host.device import Device
from lightmamba.device.host.device_state import DeviceState
from lightmamba.engine import Engine, State
from lightmamba.model.qmodel import QuantizedModel
from tests.sim.passes import damaged

__all__ = ["Place", "States"]

MANY = 3  # sequences that do anything
SEQUENCE, SEED = st.integers(0, MANY - 1), st.integers(0, 1 << 16)
# Of a slot: its sequence, tokens, whether it begins, tokens accepted, undecided and wanted. What is
# too much for the device becomes as much as it takes.
SLOT = st.tuples(SEQUENCE, st.integers(1, 8), st.integers(0, 9), *[st.integers(0, 8)] * 3, SEED)
SLOTS = st.lists(SLOT, min_size=1, max_size=MANY, unique_by=lambda slot: slot[0])


@dataclass
class Place:
    """A device with a model loaded, on which machine after machine runs.

    Parameters
    ----------
    device
        With memory for at least :data:`MANY` sequences; what grows with their tokens may be little.
    model
        That it has.
    far
        Positions of a state to go on from, of which there are several segments soon.
    """

    device: Device
    model: QuantizedModel
    far: int
    engine: Engine = field(init=False)
    seen: Counter[str] = field(default_factory=Counter)  # what happened, so that a test can ask
    begun: tuple[DeviceState, State] = field(init=False)

    def __post_init__(self) -> None:
        self.engine = Engine(self.model)
        ids = np.random.default_rng(0).integers(3, self.engine.valid_vocab, self.far)
        state = self.engine.empty_state(1)
        for part, _ in split(Pass((Slot(0, ids, fresh=True),)), self.tokens):
            self.device.submit(part)
            self.device.wait()
            self.engine.run(part, state)
        self.begun = self.device.save_state(0), state

    @property
    def tokens(self) -> int:
        """Most tokens of a pass."""
        assert self.device.artifact is not None
        return self.device.artifact.arch.tokens


class States(RuleBasedStateMachine):
    """Passes of any composition, saved and damaged states, forks, ends, resets, failures.

    Logits, arg-maxes and positions are the engine's after each; segments belong to one sequence.
    """

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.device, self.engine, self.seen = self.place.device, self.place.engine, self.place.seen
        assert self.device.artifact is not None
        self.arch = self.device.artifact.arch
        self.device.reset()
        self.state = self.engine.empty_state(
            len(self.device.sequences), undecided=self.arch.undecided
        )
        self.saved, self.passes = [self.place.begun], 0

    @rule(passes=st.lists(SLOTS, min_size=1, max_size=5))
    def run(self, passes: Sequence[Sequence[tuple[int, ...]]]) -> None:
        """Passes, or some that memory has no room for: then nothing changes."""
        for slots in passes:
            work = self._pass(slots)
            if not self._done(self.device.submit, work):
                continue
            assert self.device.wait() > 0
            self.passes += 1
            wanted = self.engine.run(work, self.state)
            np.testing.assert_array_equal(self.device.wanted_logits(), wanted)
            best = wanted[:, : self.engine.valid_vocab].argmax(1)
            assert self.device.next_tokens() == best.tolist()
            accepted = [slot.sequence for slot in work.slots if slot.replay]
            self.seen["accepted"] += len(accepted)
            self.seen["later segment"] += sum(self._held(each) > 1 for each in accepted)

    @rule(sequence=SEQUENCE, seed=SEED, more=st.integers(0, 6))
    def chain(self, sequence: int, seed: int, more: int) -> None:
        """Tokens that follow each other without the host; drafts before them are given up."""
        mine, ids = self.device.sequences[sequence], [3 + seed % (self.engine.valid_vocab - 3)]
        one = Pass((Slot(sequence, np.array(ids), fresh=mine.position == 0),))
        if mine.behind:  # the state without them is that of the next pass
            return
        if not self._done(partial(self.device.submit, chain=more), one):
            return
        self.device.wait()
        self.passes += 1
        for n in range(1 + more):
            fresh = one.slots[0].fresh and n == 0
            logits = self.engine.run(
                Pass((Slot(sequence, np.array(ids), fresh=fresh),)), self.state
            )
            ids = [int(logits[-1, : self.engine.valid_vocab].argmax())]
        assert self.device.next_token() == ids[0]
        np.testing.assert_array_equal(self.device.logits(), logits[-1])

    def _pass(self, slots: Sequence[tuple[int, ...]]) -> Pass:
        """As much of some slots as the device takes in a pass."""
        found, room, record = list[Slot](), self.arch.tokens, None
        for sequence, count, begins, accepts, leaves, wants, seed in slots:
            count = min(count, room)
            mine = self.device.sequences[sequence]
            fresh = begins == 0 or mine.position == 0
            replay = 0 if fresh else min(accepts, mine.undecided)
            left = min(leaves, self.arch.undecided, count - fresh)
            needed = self.device.needs(Slot(sequence, np.array([3]), fresh=fresh, replay=replay))
            if not count or (record is not None and needed not in (None, record)):
                continue
            ids = np.random.default_rng(seed).integers(3, self.engine.valid_vocab, count)
            found.append(Slot(sequence, ids, min(wants, count), fresh, replay, count - left))
            room, record = room - count, needed or record
        return Pass(tuple(found))

    @rule(sequence=SEQUENCE)
    def save(self, sequence: int) -> None:
        """Keep a state, without its undecided tokens, which are given up."""
        self.saved.append((self.device.save_state(sequence), self._certain(sequence)))

    @rule(which=SEED, sequence=SEQUENCE)
    def restore(self, which: int, sequence: int) -> None:
        """Go on from any saved state, if memory has room for it."""
        state, ours = self.saved[which % len(self.saved)]
        if self._done(self.device.restore_state, state, sequence):
            self.state.put(sequence, ours)

    @rule(which=SEED, sequence=SEQUENCE, seed=SEED)
    def refuse(self, which: int, sequence: int, seed: int) -> None:
        """A damaged state changes nothing."""
        state, reason = damaged(np.random.default_rng(seed), self.saved[which % len(self.saved)][0])
        with pytest.raises(InputError, match=reason):
            self.device.restore_state(state, sequence)
        if self.device.sequences[sequence].undecided:
            self.seen["refused over undecided tokens"] += 1

    @rule(which=SEED, sequence=SEQUENCE)
    def refuse_too_long(self, which: int, sequence: int) -> None:
        """A state with more positions than its bytes are of changes nothing."""
        state, _ = self.saved[which % len(self.saved)]
        assume(self.device.sequences[sequence].segments)
        with pytest.raises(InputError, match=r"has \d+ bytes, but that of"):
            self.device.restore_state(replace(state, position=state.position + 64), sequence)

    @rule(sequence=SEQUENCE, into=SEQUENCE)
    def fork(self, sequence: int, into: int) -> None:
        """Go on from another sequence; both lose what is undecided."""
        ours = self._certain(sequence)
        if self._done(self.device.fork_state, sequence, into):
            self.state.put(into, ours)

    @rule(sequence=SEQUENCE)
    def end(self, sequence: int) -> None:
        """Give back the memory of a sequence."""
        self.device.end_sequence(sequence)
        self.state.clear(sequence)

    @rule(slots=SLOTS)
    @precondition(lambda self: self.passes > 7)
    def reset(self, slots: Sequence[tuple[int, ...]]) -> None:
        """Nothing is left but what was saved; a pass may be under way that never ends."""
        if len(slots) > 1 and self._done(self.device.submit, self._pass(slots)):
            gone = patch.object(self.device, "wait_interrupt", side_effect=DeviceError("no answer"))
            with gone, pytest.raises(DeviceError, match="no answer"):
                self.device.wait()
            with pytest.raises(DeviceError, match="a token is running"):
                self.device.save_state(0)
            self.seen["failed"] += 1
        self.device.reset()
        self.passes = 0
        for sequence in range(len(self.device.sequences)):
            self.state.clear(sequence)

    @invariant()
    def alike(self) -> None:
        """Positions are the engine's; a segment has one owner."""
        mine = self.device.sequences
        assert [each.position for each in mine] == self.state.position.tolist()
        for name, first in mine[0].segments.items():
            held = [place for each in mine for place in each.segments[name].held]
            assert sorted([*held, *first.pool.free]) == list(range(first.pool.count))

    def _certain(self, sequence: int) -> State:
        """The engine's state of a sequence, whose undecided tokens are given up."""
        self.state.record.accept(sequence, 0)
        return self.state.take(slice(sequence, sequence + 1), undecided=0)

    def _held(self, sequence: int) -> int:
        """Segments of a sequence."""
        return max(
            (len(s.held) for s in self.device.sequences[sequence].segments.values()), default=0
        )

    def _done(self, operation: Callable[..., object], *given: object) -> bool:
        """Whether an operation was not refused for lack of memory."""
        try:
            operation(*given)
        except InputError as error:
            full = "of the segments of" in str(error)
            if not full and "the build has memory for" not in str(error):
                raise
            self.seen["pool full" if full else "context full"] += 1
            return False
        return True
