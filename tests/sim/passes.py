"""Passes of random composition, as hardware of several tokens takes them; damaged states."""

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.device_state import DeviceState

__all__ = ["Part", "composed", "damaged", "random_passes"]


class Part(NamedTuple):
    """Part of a sequence in a pass, as it was drawn; what is too much becomes as much as fits."""

    sequence: int
    tokens: int
    begins: bool
    accepts: int  # of what the last pass left undecided
    leaves: int  # tokens undecided
    wants: int  # logits
    seed: int  # of the ids


def composed(device: Any, parts: Iterable[Part], vocab: int, context: int = 1 << 20) -> Pass:
    """A pass of as much of some parts as a device takes.

    A part is left out if it replays another record than the parts before it. A sequence restarts
    before it has more than ``context`` tokens.
    """
    arch = device.artifact.arch
    found, room, record = list[Slot](), arch.tokens, None
    for part in parts:
        count, mine = min(part.tokens, room), device.sequences[part.sequence]
        fresh = part.begins or mine.position == 0
        fresh |= mine.position + mine.undecided + count > context
        replay = 0 if fresh else min(part.accepts, mine.undecided)
        left = min(part.leaves, arch.undecided, count - fresh)  # the first of all is certain
        needed = device.needs(Slot(part.sequence, np.array([3]), fresh=fresh, replay=replay))
        if not count or (record is not None and needed not in (None, record)):
            continue
        ids = np.random.default_rng(part.seed).integers(3, vocab, count)
        wanted = min(part.wants, count)
        found.append(Slot(part.sequence, ids, wanted, fresh, replay, count - left))
        room, record = room - count, needed or record
    return Pass(tuple(found))


def random_passes(
    rng: np.random.Generator, device: Any, vocab: int, *, sequences: int | None = None,
    restart: float = 0.05, context: int = 1 << 20,
) -> Iterator[Pass]:  # fmt: skip
    """Passes without end: chunks, batches, drafts, ragged and mixed, sequences that restart.

    Each is composed when it is asked for, so the device has carried out those before. A sequence
    restarts with a probability of ``restart``, and before it has ``context`` tokens.
    """
    most = device.artifact.arch.tokens
    while True:
        room, parts = most if rng.random() < 0.5 else int(rng.integers(1, most + 1)), list[Part]()
        for sequence in rng.permutation(sequences or len(device.sequences)):
            if not room:
                break
            count = int(rng.integers(1, room + 1))
            accepts = most if rng.random() < 0.5 else int(rng.integers(0, most))
            leaves = 0 if rng.random() < 0.3 else int(rng.integers(0, most))
            wants, seed = int(rng.integers(0, count + 1)), int(rng.integers(1 << 16))
            begins = bool(rng.random() < restart)
            parts.append(Part(int(sequence), count, begins, accepts, leaves, wants, seed))
            room -= count
        if (work := composed(device, parts, vocab, context)).slots:
            yield work


def damaged(rng: np.random.Generator, state: DeviceState) -> tuple[DeviceState, str]:
    """Saved state that a device must refuse, damaged in one of several ways, and the reason."""
    full = [name for name, values in state.memory.items() if len(values)]
    name = str(rng.choice(full))
    changed = copy(state)
    match rng.integers(6):
        case 0:
            values = state.memory[name].copy()
            values[rng.integers(len(values))] ^= 1 << rng.integers(8)
            object.__setattr__(changed, "memory", {**state.memory, name: values})
            return changed, "has changed since it was saved"
        case 1:
            position = int(rng.integers(1 + 2 * state.position))
            object.__setattr__(changed, "position", position + (position >= state.position))
            return changed, "has changed since it was saved"
        case 2:
            object.__setattr__(changed, "build", "0" * len(state.build))
            return changed, "has changed since it was saved"
        case 3:
            return replace(state, build="0" * len(state.build)), "is of another model or machine"
        case 4:
            others = {key: values for key, values in state.memory.items() if key != name}
            return replace(state, memory=others), f"lacks {name}"
        case _:
            cut = state.memory[name][: rng.integers(len(state.memory[name]))]
            return replace(state, memory={**state.memory, name: cut}), f"the saved {name} has"
