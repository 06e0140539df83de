"""Any pass as passes that hardware can carry out, one after the other."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightmamba.passes import Pass, Slot
from lightmamba.runtime.device import Device

__all__ = ["carry_out", "split"]


@dataclass
class _Part:
    """A pass that is being filled."""

    room: int
    origin: Hashable = None  # the earlier pass of which it applies tokens again, if it does
    slots: list[Slot] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)  # places of the slots in the whole pass

    def takes(self, slot: Slot, origin: Hashable) -> bool:
        """Whether there is room, and the two apply tokens of one pass again at most."""
        apart = origin is not None and self.origin not in (None, origin)
        return len(slot.tokens) <= self.room and not apart


def split(
    work: Pass, most: int, origin: Callable[[Slot], Hashable] = lambda slot: None
) -> list[tuple[Pass, list[int]]]:
    """Divide a pass into passes of ``most`` tokens, each of which needs the record of one only.

    A sequence's tokens stay in order. The undecided ones are in its last pass.

    Parameters
    ----------
    work
        What to divide.
    most
        Tokens of a pass.
    origin
        Of a slot, the pass of which it applies tokens again; None if it does not.

    Returns
    -------
    passes
        Each with the places in ``work`` of its slots.
    """
    parts: list[_Part] = []
    for owner, slot in enumerate(work.slots):
        first, known = 0, origin(slot)
        for piece in _pieces(slot, most):
            found = next(
                (n for n in range(first, len(parts)) if parts[n].takes(piece, known)), len(parts)
            )
            if found == len(parts):
                parts.append(_Part(max(most, len(piece.tokens))))
            part, first = parts[found], found + 1
            part.room -= len(piece.tokens)
            part.origin, known = part.origin if known is None else known, None
            part.slots.append(piece)
            part.owners.append(owner)
    return [(Pass(tuple(part.slots)), part.owners) for part in parts]


def _pieces(slot: Slot, most: int) -> Iterator[Slot]:
    """A slot's tokens, ``most`` at a time; what stays undecided comes together, or is too much."""
    count, sure, at = len(slot.tokens), slot.committed, 0
    while at < count:
        end = count
        if count - at > most and sure > at:
            end = min(at + most, sure)
        yield Slot(
            slot.sequence, slot.tokens[at:end],
            wanted=max(0, end - max(at, count - slot.wanted)),
            fresh=slot.fresh and at == 0,
            replay=slot.replay if at == 0 else 0,
            commit=min(end, sure) - at,
        )  # fmt: skip
        at = end


def carry_out(device: Device, work: Pass) -> tuple[NDArray[np.int32], int, int]:
    """Run a pass on a device, in as many passes as it takes.

    Returns
    -------
    logits : (wanted, vocab_size) int32
        As the engine gives them.
    cycles, passes : int
        What it took.
    """
    artifact = device.artifact
    most = artifact.arch.tokens if artifact is not None else 1
    rows: list[list[NDArray[np.int32]]] = [[] for _ in work.slots]
    cycles = 0
    parts = split(work, most, device.needs)
    for part, owners in parts:
        device.submit(part)
        cycles += device.wait()
        logits = device.wanted_logits()
        for slot, owner in zip(part.slots, owners, strict=True):
            rows[owner].append(logits[: slot.wanted])
            logits = logits[slot.wanted :]
    return np.concatenate([each for mine in rows for each in mine]), cycles, len(parts)
