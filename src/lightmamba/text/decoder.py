"""A device as a decoder: what computes logits for :func:`lightmamba.text.generate`."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.common.passes import Pass, Slot, carry_out
from lightmamba.device.host.device import Device
from lightmamba.device.host.device_state import DeviceState
from lightmamba.hardware.machine.counters import losses
from lightmamba.model.qmodel import QuantizedModel

__all__ = ["DeviceDecoder", "DeviceSequence"]


@dataclass
class DeviceSequence:
    """A sequence on a device, after some tokens.

    Parameters
    ----------
    key : object
        Which one: the ``key`` of its place on the device; None before its first token.
    tokens : int
        Tokens seen.
    device : Device or None
        Where it is; None before its first token.
    saved : DeviceState or None
        Its state, if it was taken from the device, which goes on from there when it is used;
        take another copy to do so again.
    """

    key: object = None
    tokens: int = 0
    device: Device | None = field(default=None, compare=False, repr=False)
    saved: DeviceState | None = field(default=None, compare=False, repr=False)
    _copy: DeviceState | None = field(default=None, compare=False, repr=False)

    def take(self, rows: NDArray[np.int64]) -> "DeviceSequence":
        """Copy the sequence, which the device must not have left before the first copy.

        ``rows`` chooses from one sequence: it is [0], as often as wanted.
        """
        if self.device is None:
            return DeviceSequence()
        self._copy = self._copy or self.saved or self.device.save_state()
        return replace(self, saved=self._copy)

    def move_to(self, now: "DeviceSequence") -> None:
        """Adopt the sequence as it is after a pass; earlier copies of its state are stale."""
        self.key, self.tokens, self.device = now.key, now.tokens, now.device
        self.saved = self._copy = None


class DeviceDecoder:
    """A device as what :func:`lightmamba.text.generate` takes, with one sequence.

    It feeds as many tokens at once as the hardware takes. The state is the device's own: a pass
    changes the one that it is given, and another sequence makes it invalid.

    Parameters
    ----------
    device : Device
        With a build loaded.
    model : QuantizedModel
        Sizes and the exponent of the logits.

    Attributes
    ----------
    cycles, ran, tokens
        Cycles, passes of the hardware, and tokens but for drafted ones that were not accepted.
    pass_tokens, undecided
        Tokens that a pass of the hardware takes, and those of them that it may leave undecided.
    context_length
        Tokens that the build has room for in a sequence; None if it sets no limit.
    """

    def __init__(self, device: Device, model: QuantizedModel) -> None:
        if device.artifact is None:
            raise DeviceError("load a build first")
        self.device, self.model = device, model
        self.vocab_size, self.valid_vocab = model.config.vocab_size, model.valid_vocab
        self.logit_exponent = model.logit_exp
        arch = device.artifact.arch
        self.pass_tokens, self.undecided = arch.tokens, arch.undecided
        self.context_length = arch.context or None
        self.cycles = self.ran = self.tokens = 0
        self._lost, self._counted = Counter[str](), Counter[str]()
        self._artifact = device.artifact

    @property
    def counters(self) -> Counter[str] | None:
        """Values that left their format, by kind; None where the device does not count.

        Counts that a caller adds stay, as in the engine's.
        """
        if not self._artifact.arch.counters:
            return None
        counted = self.device.counters()
        for name in losses(self._artifact.arch.kinds):
            self._lost[name] += counted[name] - self._counted[name]
            self._counted[name] = counted[name]
        return self._lost

    @property
    def seconds(self) -> float:
        """Seconds of all passes by the clock of the hardware, not by that of a simulation."""
        return self.cycles / (self._artifact.target.clock_mhz * 1e6)

    def empty_state(self, batch: int, undecided: int = 0) -> DeviceSequence:
        """Begin a sequence.

        Raises
        ------
        InputError
            If it is more than one, or the hardware cannot leave that many tokens undecided.
        """
        if batch != 1:
            raise InputError(f"a device runs one sequence at a time, not {batch}")
        if undecided > self.undecided:
            raise InputError(
                f"the hardware of this build leaves at most {self.undecided} tokens of a sequence "
                f"undecided, not {undecided}"
            )
        return DeviceSequence()

    def forward(
        self, ids: NDArray[np.int64], state: Any, *, last_only: bool = True
    ) -> tuple[NDArray[np.int32], DeviceSequence]:
        """Run ids (1, seqlen); logits (1, 1 or seqlen, vocab) and the state, which goes on.

        Tokens that a pass left undecided are given up. Errors are those of :meth:`run`.
        """
        slot = Slot(0, ids[0], 1 if last_only else ids.shape[1])
        return self.run(Pass((slot,)), state)[None], state

    def run(self, work: Pass, state: Any) -> NDArray[np.int32]:
        """Carry out a pass of the one sequence; logits (wanted, vocab). The state goes on.

        It takes as many passes of the hardware as it has tokens for.

        Raises
        ------
        InputError
            If the device has gone on since with this sequence or another one, or the hardware
            cannot leave that many tokens undecided.
        """
        fresh = self._begins(state)
        logits = self.carry_out(Pass(tuple(replace(slot, fresh=fresh) for slot in work.slots)))
        state.move_to(self._now())
        return logits

    def carry_out(self, work: Pass) -> NDArray[np.int32]:
        """Run a pass of any sequences of the device in as many of the hardware's as it takes."""
        self.device.check(work)
        return carry_out(work, self.pass_tokens, self._run, self.device.needs)

    def _begins(self, state: Any) -> bool:
        """Whether a sequence begins with this state; else it must be the device's, or was saved."""
        if state.saved is not None:
            self.device.restore_state(state.saved)
            return False
        if state not in (DeviceSequence(), self._now()):
            raise InputError(
                "a device goes on from its own last token only, and another one has run since; "
                "save its state before, and restore it"
            )
        return bool(state == DeviceSequence())

    def _run(self, work: Pass) -> NDArray[np.int32]:
        try:
            self.device.submit(work)
            self.cycles += self.device.wait()
            self.ran += 1
        except KeyboardInterrupt:  # the next text finds a device that is not running
            self.device.reset()
            raise
        self.tokens += sum(slot.replay + slot.committed for slot in work.slots)
        return self.device.wanted_logits()

    def _now(self) -> DeviceSequence:
        mine = self.device.sequences[0]
        return DeviceSequence(mine.key, mine.position, self.device)
