"""Back ends of the server: the integer engine, or a device.

The scheduler knows nothing else of engine and devices. Another device needs no more than a
:class:`~lightmamba.device.host.device.Device` with its build loaded.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.common.passes import Pass, Slot, carry_out
from lightmamba.device.host.device import Device
from lightmamba.engine import Engine, State
from lightmamba.engine.engine import PIECE
from lightmamba.hardware.machine.counters import CYCLES, losses
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.text.decoder import seconds_of

__all__ = ["MEMORY", "MIB", "Backend", "DeviceBackend", "EngineBackend"]

MIB = 1 << 20
MOST_SLOTS = 128
MEMORY = 1 << 30  # bytes of all sequences, unless the operator says how many
LARGE = 1 << 21  # bytes of a large page: what grows is a multiple


class Backend(Protocol):
    """Slots for sequences, and passes over some of them.

    One thread calls it. ``valid_vocab`` and ``logit_exponent`` are those of the model.

    Attributes
    ----------
    pass_tokens
        Tokens of a pass, at most; more take several passes.
    undecided
        Tokens of a slot that a pass may leave undecided.
    state_bytes
        Of a slot, which are there all the time.
    spare
        Bytes for what sequences have beyond their slots: :meth:`needs`, copies and drafters.
    context
        Tokens that a sequence may have; 0 for any number.
    segments
        Segments of a device's memory by which sequences grow; 0 where none does.
    """

    device: str
    slots: int
    pass_tokens: int
    undecided: int
    state_bytes: int
    spare: int
    context: int
    segments: int
    vocab_size: int
    valid_vocab: int
    logit_exponent: int

    @property
    def ran(self) -> int:
        """Passes over the weights so far."""
        ...

    def begin(self, slot: int, room: int) -> None:
        """Make a slot's state that of a sequence that has not begun, with room for its tokens."""

    def run(self, work: Pass) -> NDArray[np.int32]:
        """Run one pass; logits (wanted, vocab_size) of the slots that want them."""
        ...

    def seconds(self) -> float:
        """A clock by which passes are timed."""
        ...

    def save(self, slot: int, accepted: Sequence[int] = ()) -> Any:
        """Copy a slot's state; nobody changes the copy.

        Of the tokens that the last pass left undecided these are accepted.
        """
        ...

    def restore(self, slot: int, saved: Any, room: int) -> None:
        """Go on in a slot from a saved state; ``room`` for tokens is for those of before too."""

    def end(self, slot: int) -> None:
        """Free what a slot has beyond its fixed size."""

    def needs(self, tokens: int) -> int:
        """Bytes of a sequence beyond its slot, with space for a number of tokens."""
        ...

    def takes(self, tokens: int) -> int:
        """Segments of a sequence with space for a number of tokens."""
        ...

    def saved_bytes(self, tokens: int) -> int:
        """Bytes of a saved state after a number of tokens."""
        ...

    def saturations(self) -> Mapping[str, int]:
        """Values that left their format since the backend was made, by kind."""
        ...

    def cycles(self) -> Mapping[str, int]:
        """Cycles of a device by what it did; empty for the engine."""
        ...

    def recover(self) -> None:
        """After a failed pass: make the backend usable again; all slots are lost."""


class EngineBackend:
    """Many sequences on the integer engine.

    Parameters
    ----------
    engine : Engine
    slots : int, optional
        Sequences at a time; by default 128, or as many as there is memory for. Where sequences grow
        with their tokens, slots take half of the memory at most.
    undecided : int
        Tokens of a sequence that a pass may leave undecided.
    memory : int
        Bytes of all sequences.
    drafter : int
        Bytes of the drafter of a sequence, at least.

    Raises
    ------
    InputError
        If there is no memory for the slots and one sequence.
    """

    device = "engine"
    pass_tokens = PIECE
    context = segments = 0

    def __init__(
        self,
        engine: Engine,
        slots: int | None = None,
        undecided: int = 0,
        *,
        memory: int = MEMORY,
        drafter: int = 0,
    ) -> None:
        self.undecided, self.ran = undecided, 0
        self._layout = engine.layout
        self.state_bytes = max(1, engine.empty_state(1, undecided).nbytes)
        one = self.needs(1) + self.saved_bytes(1) + drafter  # that runs, and leads another one
        kept = max(one, memory // 2 if self._layout.page else 0)
        most = min(MOST_SLOTS, (memory - kept) // (self.state_bytes + drafter))
        self.slots = slots or max(1, most)
        self.spare = memory - self.slots * self.state_bytes
        if self.spare < one:
            wanted = -(-(self.slots * self.state_bytes + one) // MIB)
            raise InputError(
                f"the states of {self.slots} sequences need {wanted} MiB, and there are "
                f"{memory // MIB}; try --memory-mb {wanted}"
                + (" or fewer --slots" if self.slots > 1 else "")
            )
        self.vocab_size, self.valid_vocab = engine.vocab_size, engine.valid_vocab
        self.logit_exponent = engine.logit_exponent
        self._engine, self._state = engine, engine.empty_state(self.slots, undecided)

    def begin(self, slot: int, room: int) -> None:
        """Zero a slot's state, and reserve its pages."""
        self._state.clear(slot, self._state.room(room))

    def run(self, work: Pass) -> NDArray[np.int32]:
        """Run a pass; the engine cuts one that is longer than what stays in the cache."""
        self.ran += 1
        return self._engine.run(work, self._state)

    def seconds(self) -> float:
        """Seconds of this computer's clock."""
        return time.perf_counter()

    def save(self, slot: int, accepted: Sequence[int] = ()) -> State:
        """Copy a row of the state."""
        if len(accepted):
            self.run(Pass((Slot(slot, np.array(accepted, dtype=np.int64), wanted=0),)))
        self._state.record.accept(slot, 0)
        return self._state.take(slice(slot, slot + 1), undecided=0)

    def restore(self, slot: int, saved: State, room: int) -> None:
        """Copy a state into a row, and reserve its pages."""
        self._state.put(slot, saved, room)

    def end(self, slot: int) -> None:
        """Free the pages of a row."""
        self._state.drop(slot)

    def needs(self, tokens: int) -> int:
        """Bytes of the pages of a sequence: keys and values of attention grow with its tokens."""
        pages = self._layout.bytes_of(tokens) - self._layout.bytes_of(0)
        return -(-pages // LARGE) * LARGE

    def takes(self, tokens: int) -> int:
        """None."""
        return 0

    def saved_bytes(self, tokens: int) -> int:
        """Bytes of a saved state, with its pages."""
        return self._layout.bytes_of(tokens)

    def saturations(self) -> Mapping[str, int]:
        """The engine's counters but for ``clipped``, which is intended."""
        return {k: v for k, v in self._engine.counters.items() if k != "clipped"}

    def cycles(self) -> Mapping[str, int]:
        """None."""
        return {}

    def recover(self) -> None:
        """Nothing: a pass that failed changed slots only."""


class DeviceBackend:
    """Sequences on a device, whose states all lie in its memory.

    Parameters
    ----------
    device : Device
        With a build loaded, for as many sequences as there are slots.
    model : QuantizedModel
        Of that build.
    name : str
        Kind of device, such as "sim".
    memory : int
        Bytes of this computer for copies of states and for drafters.
    """

    def __init__(
        self, device: Device, model: QuantizedModel, name: str, memory: int = MEMORY
    ) -> None:
        if device.artifact is None:
            raise DeviceError("load a build first")
        arch = device.artifact.arch
        self.device, self._device, self._artifact = name, device, device.artifact
        self.slots, self.pass_tokens, self.undecided = (
            len(device.sequences), arch.tokens, arch.undecided,
        )  # fmt: skip
        self.context = arch.context
        self.segments = sum(each.pool.count for each in device.sequences[0].segments.values())
        self.vocab_size, self.valid_vocab = model.config.vocab_size, model.valid_vocab
        self.logit_exponent = model.logit_exp
        self._first = device.sequences[0]
        self.state_bytes = self.saved_bytes(0)
        self.spare = memory
        self.ran = self._cycles = 0
        self._fresh = set(range(self.slots))  # slots whose next token is a sequence's first

    def begin(self, slot: int, room: int) -> None:
        """The next token is the first of a sequence."""
        self._fresh.add(slot)

    def run(self, work: Pass) -> NDArray[np.int32]:
        """Run a pass in as many of the hardware's as it takes."""
        begun = Pass(tuple(replace(s, fresh=s.sequence in self._fresh) for s in work.slots))
        self._device.check(begun)
        logits = carry_out(begun, self.pass_tokens, self._run, self._device.needs)
        self._fresh -= {slot.sequence for slot in work.slots}
        return logits

    def _run(self, work: Pass) -> NDArray[np.int32]:
        self._device.submit(work)
        self._cycles += self._device.wait()
        self.ran += 1
        return self._device.wanted_logits()

    def seconds(self) -> float:
        """Seconds of all passes by the clock of the hardware, not by that of a simulation."""
        return seconds_of(self._cycles, self._artifact)

    def save(self, slot: int, accepted: Sequence[int] = ()) -> Any:
        """Copy a state out of the device's memory."""
        if len(accepted):
            self.run(Pass((Slot(slot, np.array(accepted, dtype=np.int64), wanted=0),)))
        return self._device.save_state(slot)

    def restore(self, slot: int, saved: Any, room: int) -> None:
        """Write a state back."""
        self._device.restore_state(saved, slot)
        self._fresh.discard(slot)

    def takes(self, tokens: int) -> int:
        """Segments of a sequence with space for a number of tokens."""
        return sum(each.wanted(tokens) for each in self._first.segments.values())

    def end(self, slot: int) -> None:
        """Give the memory of a slot back."""
        self._device.end_sequence(slot)

    def needs(self, tokens: int) -> int:
        """Nothing: the state of a sequence lies on the device."""
        return 0

    def saved_bytes(self, tokens: int) -> int:
        """Bytes of a saved state."""
        return sum(self._first.sizes(tokens).values())

    def saturations(self) -> Mapping[str, int]:
        """The device's counters of losses, rejected drafts included."""
        names = losses(self._device.kinds)
        return {k: v for k, v in self._device.counters().items() if k in names}

    def cycles(self) -> Mapping[str, int]:
        """Cycles of all tokens, each counted under one name."""
        return {k: v for k, v in self._device.counters().items() if k in CYCLES}

    def recover(self) -> None:
        """Reset the device."""
        self._device.reset()
        self._fresh = set(range(self.slots))
