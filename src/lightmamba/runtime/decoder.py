"""A device as a decoder: what computes logits for :func:`lightmamba.runtime.generate`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.counters import LOSSES
from lightmamba.errors import InputError
from lightmamba.qmodel import QuantizedModel
from lightmamba.runtime.device import Device

__all__ = ["DeviceDecoder", "DeviceSequence"]


@dataclass(frozen=True)
class DeviceSequence:
    """A sequence on a device, after some tokens.

    Parameters
    ----------
    key : object
        Which one: the ``key`` of its place on the device; None before its first token.
    tokens : int
        Tokens seen.
    """

    key: object = None
    tokens: int = 0


class DeviceDecoder:
    """A device as what :func:`lightmamba.runtime.generate` takes: one sequence, one token a time.

    The state is the device's own; a state is valid until the next one is made from it.

    Parameters
    ----------
    device : Device
        With a build loaded.
    model : QuantizedModel
        Sizes and the exponent of the logits.
    progress
        Called after every token with how many were run.
    """

    def __init__(
        self,
        device: Device,
        model: QuantizedModel,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.device, self.progress, self.model = device, progress, model
        self.vocab_size, self.valid_vocab = model.config.vocab_size, model.valid_vocab
        self.logit_exponent = model.logit_exp
        self.cycles = 0
        self.tokens = 0

    @property
    def counters(self) -> dict[str, int]:
        """Values that left their format on the device, by kind."""
        counted = self.device.counters()
        return {name: counted[name] for name in LOSSES}

    def empty_state(self, batch: int) -> DeviceSequence:
        """Begin a sequence."""
        if batch != 1:
            raise InputError(f"a device runs one sequence at a time, not {batch}")
        return DeviceSequence()

    def forward(
        self, ids: NDArray[np.int64], state: Any, *, last_only: bool = True
    ) -> tuple[NDArray[np.int32], DeviceSequence]:
        """Run ids (1, seqlen); logits (1, 1 or seqlen, vocab) and the new state.

        Raises
        ------
        InputError
            If the device has gone on since with this sequence or another one.
        """
        now = self._now()
        if state not in (DeviceSequence(), now):
            raise InputError(
                "a device goes on from its own last token only, and another one has run since; "
                "save its state before, and restore it"
            )
        rows, fresh = [], state == DeviceSequence()
        for n, token in enumerate(ids[0]):
            head = not last_only or n == ids.shape[1] - 1
            self.device.start(int(token), fresh=fresh and n == 0, head=head)
            self.cycles += self.device.wait()
            self.tokens += 1
            if head:
                rows.append(self.device.logits())
            if self.progress is not None:
                self.progress(self.tokens)
        return np.stack(rows)[None], self._now()

    def _now(self) -> DeviceSequence:
        mine = self.device.sequences[0]
        return DeviceSequence(mine.key, mine.position)
