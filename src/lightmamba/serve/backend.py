"""Back ends of the server: the integer engine, or a device.

The scheduler knows nothing else of engine and devices. Another device needs no more than a
:class:`~lightmamba.device.host.device.Device` with its build loaded.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.device import Device
from lightmamba.engine import Engine, State
from lightmamba.engine.engine import PIECE
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.text.decoder import DeviceDecoder

__all__ = ["MEMORY", "MIB", "Backend", "DeviceBackend", "EngineBackend"]

MIB = 1 << 20
MOST_SLOTS = 128
MEMORY = 1 << 30  # bytes of all sequences, unless the operator says how many
LARGE = 1 << 21  # bytes of a large page: what grows is a multiple


class Backend(ABC):
    """Slots for sequences, and passes over some of them.

    One thread calls it. ``valid_vocab`` and ``logit_exponent`` are those of the model.
    """

    device: str  # its kind, such as "sim"
    slots: int  # sequences at a time
    pass_tokens: int  # tokens of a pass, at most; more take several passes
    undecided: int  # tokens of a slot that a pass may leave undecided
    spare: int  # bytes for what sequences have beyond their slots: needs(), copies and drafters
    context = 0  # tokens that a sequence may have; 0 for any number
    segments = 0  # of a device's memory, by which sequences grow; 0 where none does
    valid_vocab: int
    logit_exponent: int

    @property
    @abstractmethod
    def ran(self) -> int:
        """Passes over the weights so far."""

    @abstractmethod
    def begin(self, slot: int, room: int) -> None:
        """Make a slot's state that of a sequence that has not begun, with room for its tokens."""

    @abstractmethod
    def run(self, work: Pass) -> NDArray[np.int32]:
        """Run one pass; logits (wanted, vocab_size) of the slots that want them."""

    @abstractmethod
    def save(self, slot: int, accepted: Sequence[int] = ()) -> Any:
        """Copy a slot's state; nobody changes the copy.

        Of the tokens that the last pass left undecided these are accepted.
        """

    @abstractmethod
    def restore(self, slot: int, saved: Any, room: int) -> None:
        """Go on in a slot from a saved state; ``room`` for tokens is for those of before too."""

    @abstractmethod
    def end(self, slot: int) -> None:
        """Free what a slot has beyond its fixed size."""

    @abstractmethod
    def saved_bytes(self, tokens: int) -> int:
        """Bytes of a saved state after a number of tokens."""

    @abstractmethod
    def saturations(self) -> Mapping[str, int]:
        """Values that left their format since the backend was made, by kind."""

    def needs(self, tokens: int) -> int:
        """Bytes of a sequence beyond its slot, with space for a number of tokens."""
        return 0

    def takes(self, tokens: int) -> int:
        """Segments of a sequence with space for a number of tokens."""
        return 0

    def seconds(self) -> float:
        """A clock by which passes are timed."""
        return time.perf_counter()

    def cycles(self) -> Mapping[str, int]:
        """Cycles of a device by what it did, each counted under one name."""
        return {}

    @abstractmethod
    def recover(self) -> None:
        """After a failed pass: make the backend usable again; all slots are lost."""


class EngineBackend(Backend):
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

    Attributes
    ----------
    state_bytes : int
        Bytes of a slot, which are there all the time.
    """

    device = "engine"
    pass_tokens = PIECE  # the engine cuts a pass that is longer than what stays in the cache
    ran = 0

    def __init__(
        self,
        engine: Engine,
        slots: int | None = None,
        undecided: int = 0,
        *,
        memory: int = MEMORY,
        drafter: int = 0,
    ) -> None:
        self.undecided = undecided
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
        self.valid_vocab, self.logit_exponent = engine.valid_vocab, engine.logit_exponent
        self._engine, self._state = engine, engine.empty_state(self.slots, undecided)

    def begin(self, slot: int, room: int) -> None:
        self._state.clear(slot, self._state.room(room))

    def run(self, work: Pass) -> NDArray[np.int32]:
        self.ran += 1
        return self._engine.run(work, self._state)

    def save(self, slot: int, accepted: Sequence[int] = ()) -> State:
        if len(accepted):
            self.run(Pass((Slot(slot, np.array(accepted, dtype=np.int64), wanted=0),)))
        self._state.record.accept(slot, 0)
        return self._state.take(slice(slot, slot + 1), undecided=0)

    def restore(self, slot: int, saved: State, room: int) -> None:
        self._state.put(slot, saved, room)

    def end(self, slot: int) -> None:
        self._state.drop(slot)

    def needs(self, tokens: int) -> int:
        """Bytes of the pages of a sequence: keys and values of attention grow with its tokens."""
        pages = self._layout.bytes_of(tokens) - self._layout.bytes_of(0)
        return -(-pages // LARGE) * LARGE

    def saved_bytes(self, tokens: int) -> int:
        return self._layout.bytes_of(tokens)

    def saturations(self) -> Mapping[str, int]:
        """The engine's counters but for ``clipped``, which is intended."""
        return {k: v for k, v in self._engine.counters.items() if k != "clipped"}

    def recover(self) -> None:
        """Nothing: a pass that failed changed slots only."""


class DeviceBackend(Backend):
    """Sequences on a device, whose states all lie in its memory.

    Parameters
    ----------
    opener : callable
        Opens the device with a build loaded, for as many sequences as there are slots; again after
        it was gone.
    model : QuantizedModel
        Of that build.
    name : str
        Kind of device, such as "sim".
    memory : int
        Bytes of this computer for copies of states and for drafters.
    """

    def __init__(
        self,
        opener: Callable[[], Device],
        model: QuantizedModel,
        name: str,
        memory: int = MEMORY,
    ) -> None:
        self.device, self.spare, self._open = name, memory, opener
        device = self._device = opener()
        self._decoder = DeviceDecoder(device, model)
        self.slots, self._first = len(device.sequences), device.sequences[0]
        self.pass_tokens, self.undecided = self._decoder.pass_tokens, self._decoder.undecided
        self.context = self._decoder.context_length or 0
        self.segments = sum(each.pool.count for each in self._first.segments.values())
        self.valid_vocab, self.logit_exponent = model.valid_vocab, model.logit_exp
        self._fresh = set(range(self.slots))  # slots whose next token is a sequence's first
        self._gone = False  # closed, and not opened again yet

    @property
    def ran(self) -> int:
        return self._decoder.ran

    def begin(self, slot: int, room: int) -> None:
        self._fresh.add(slot)

    def run(self, work: Pass) -> NDArray[np.int32]:
        """Run a pass in as many of the hardware's as it takes."""
        begun = Pass(tuple(replace(s, fresh=s.sequence in self._fresh) for s in work.slots))
        logits = self._decoder.carry_out(begun)
        self._fresh -= {slot.sequence for slot in work.slots}
        return logits

    def seconds(self) -> float:
        """Seconds of all passes by the clock of the hardware, not by that of a simulation."""
        return self._decoder.seconds

    def save(self, slot: int, accepted: Sequence[int] = ()) -> Any:
        if len(accepted):
            self.run(Pass((Slot(slot, np.array(accepted, dtype=np.int64), wanted=0),)))
        return self._device.save_state(slot)

    def restore(self, slot: int, saved: Any, room: int) -> None:
        self._device.restore_state(saved, slot)
        self._fresh.discard(slot)

    def takes(self, tokens: int) -> int:
        return sum(each.wanted(tokens) for each in self._first.segments.values())

    def end(self, slot: int) -> None:
        self._device.end_sequence(slot)

    def saved_bytes(self, tokens: int) -> int:
        return sum(self._first.sizes(tokens).values())

    def saturations(self) -> Mapping[str, int]:
        """The device's counters of losses, rejected drafts included."""
        return dict(self._decoder.counters or {})

    def cycles(self) -> Mapping[str, int]:
        return {k: v for k, v in self._device.counters().items() if k in CYCLES}

    def recover(self) -> None:
        """Reset the device; if it does not answer, or has lost its registers, open it again."""
        self._fresh = set(range(self.slots))
        if not self._gone:
            with suppress(DeviceError):
                if self._device.is_set_up():
                    self._device.reset()
                    return
            self._gone = True
            with suppress(DeviceError):
                self._device.close()
        self._device = self._decoder.device = self._open()
        self._first, self._gone = self._device.sequences[0], False
