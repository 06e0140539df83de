"""What runs the tokens: the integer engine with many sequences, or a device with one.

The scheduler knows nothing else of engine and devices. Another device needs no more than a
:class:`~lightmamba.runtime.device.Device` with its build loaded.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.counters import CYCLES, LOSSES
from lightmamba.engine import Engine, State
from lightmamba.passes import Pass, Slot
from lightmamba.qmodel import QuantizedModel
from lightmamba.runtime.device import Device

__all__ = ["Backend", "DeviceBackend", "EngineBackend"]

MOST_SLOTS = 128
STATE_BYTES = 1 << 30  # of all slots, unless the operator says how many
PASS_TOKENS = 256  # what goes through all layers together and still lies in the cache


class Backend(Protocol):
    """Slots for sequences, and passes over some of them.

    One thread calls it. ``valid_vocab`` and ``logit_exponent`` are those of the model.
    """

    device: str
    slots: int
    pass_tokens: int
    state_bytes: int
    vocab_size: int
    valid_vocab: int
    logit_exponent: int

    def begin(self, slot: int) -> None:
        """Make a slot's state that of a sequence that has not begun."""

    def run(self, work: Pass) -> NDArray[np.int32]:
        """Run one pass; logits (wanted, vocab_size) of the slots that want them.

        There are at most ``pass_tokens`` tokens in it, but for one per slot.
        """
        ...

    def save(self, slot: int, accepted: Sequence[int] = ()) -> Any:
        """Copy a slot's state; nobody changes the copy.

        Of the tokens that the last pass left undecided these are accepted.
        """
        ...

    def restore(self, slot: int, saved: Any) -> None:
        """Go on in a slot from a saved state."""

    def size_of(self, saved: Any) -> int:
        """Bytes of a saved state."""
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
        Sequences at a time; by default 128, or as many as 1 GiB of states are.
    undecided : int
        Tokens of a sequence that a pass may leave undecided.
    """

    device = "engine"
    pass_tokens = PASS_TOKENS

    def __init__(self, engine: Engine, slots: int | None = None, undecided: int = 0) -> None:
        one = engine.empty_state(1, undecided)
        self.state_bytes = max(1, one.nbytes)
        self.slots = slots or max(1, min(MOST_SLOTS, STATE_BYTES // self.state_bytes))
        self.vocab_size, self.valid_vocab = engine.vocab_size, engine.valid_vocab
        self.logit_exponent = engine.logit_exponent
        self._engine, self._state = engine, engine.empty_state(self.slots, undecided)

    def begin(self, slot: int) -> None:
        """Zero a slot's state."""
        self._state.clear(slot)

    def run(self, work: Pass) -> NDArray[np.int32]:
        """One pass over the weights for all slots."""
        return self._engine.run(work, self._state)

    def save(self, slot: int, accepted: Sequence[int] = ()) -> State:
        """Copy a row of the state."""
        if len(accepted):
            self.run(Pass((Slot(slot, np.array(accepted, dtype=np.int64), wanted=0),)))
        self._state.record.accept(slot, 0)
        return self._state.take(slice(slot, slot + 1), undecided=0)

    def restore(self, slot: int, saved: State) -> None:
        """Copy a state into a row."""
        self._state.put(slot, saved)

    def size_of(self, saved: State) -> int:
        """Bytes of a saved state: those of attention grow with its tokens."""
        return saved.nbytes

    def saturations(self) -> Mapping[str, int]:
        """The engine's counters but for ``clipped``, which is intended."""
        return {k: v for k, v in self._engine.counters.items() if k != "clipped"}

    def cycles(self) -> Mapping[str, int]:
        """None."""
        return {}

    def recover(self) -> None:
        """Nothing: a pass that failed changed slots only."""


class DeviceBackend:
    """One sequence on a device, a token at a time.

    Parameters
    ----------
    device : Device
        With a build loaded.
    model : QuantizedModel
        Of that build.
    name : str
        Kind of device, such as "sim".
    """

    slots = 1
    pass_tokens = 1  # so that a request that was given up ends at its next token

    def __init__(self, device: Device, model: QuantizedModel, name: str) -> None:
        self.device, self._device = name, device
        self.vocab_size, self.valid_vocab = model.config.vocab_size, model.valid_vocab
        self.logit_exponent = model.logit_exp
        self.state_bytes = sum(map(len, device.save_state().memory.values()))
        self._fresh = True

    def begin(self, slot: int) -> None:
        """The next token is the first of a sequence."""
        self._fresh = True

    def run(self, work: Pass) -> NDArray[np.int32]:
        """Run the tokens of the one slot."""
        (slot,) = work.slots
        last = len(slot.tokens) - 1
        for n in range(len(slot.tokens)):
            wanted, token = int(slot.wanted and n == last), slot.tokens[n : n + 1]
            self._device.submit(Pass((Slot(0, token, wanted, fresh=self._fresh),)))
            self._fresh = False
            self._device.wait()
        if not slot.wanted:
            return np.empty((0, self.vocab_size), dtype=np.int32)
        return self._device.logits()[None]

    def save(self, slot: int, accepted: Sequence[int] = ()) -> Any:
        """Copy the device's state."""
        return self._device.save_state()

    def restore(self, slot: int, saved: Any) -> None:
        """Write a state back."""
        self._device.restore_state(saved)
        self._fresh = False

    def size_of(self, saved: Any) -> int:
        """Bytes of a saved state."""
        return self.state_bytes

    def saturations(self) -> Mapping[str, int]:
        """The device's counters of losses."""
        return {k: v for k, v in self._device.counters().items() if k in LOSSES}

    def cycles(self) -> Mapping[str, int]:
        """Cycles of all tokens, each counted under one name."""
        return {k: v for k, v in self._device.counters().items() if k in CYCLES}

    def recover(self) -> None:
        """Reset the device."""
        self._device.reset()
