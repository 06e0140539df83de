"""Passes of random composition, as hardware of several tokens takes them; damaged states."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace

import numpy as np

from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host.device_state import DeviceState

__all__ = ["damaged", "random_passes"]


def random_passes(
    rng: np.random.Generator, *, tokens: int, sequences: int, undecided: int, vocab: int,
    needs: Callable[[Slot], object], restart: float = 0.05, context: int = 1 << 20,
) -> Iterator[Pass]:  # fmt: skip
    """Passes without end: chunks, batches, drafts, ragged and mixed, sequences that restart.

    ``needs`` gives the record that a slot would need now, or None: a pass has one at most. A
    sequence restarts with a probability of ``restart``, and before it has ``context`` tokens.
    """
    left = dict.fromkeys(range(sequences), 0)  # what each left undecided
    length = dict.fromkeys(range(sequences), 0)  # at most
    begun: set[int] = set()
    while True:
        room = tokens if rng.random() < 0.5 else int(rng.integers(1, tokens + 1))
        slots, source = list[Slot](), None
        for sequence in rng.permutation(sequences):
            sequence = int(sequence)
            if not room:
                break
            count = int(rng.integers(1, room + 1))
            fresh = sequence not in begun or rng.random() < restart
            fresh |= length[sequence] + count > context
            open_ = 0 if fresh else left[sequence]
            replay = open_ if rng.random() < 0.5 else int(rng.integers(0, open_ + 1))
            least = max(int(fresh), count - undecided)  # the first of all is certain
            commit = count if rng.random() < 0.3 else int(rng.integers(least, count + 1))
            ids = rng.integers(3, vocab, count)
            wanted = int(rng.integers(0, count + 1))
            slot = Slot(sequence, ids, wanted, fresh, replay, commit)
            record = needs(slot)
            if record is not None and source not in (None, record):
                continue
            source = source or record
            slots.append(slot)
            room -= count
            begun.add(sequence)
            left[sequence] = count - commit
            length[sequence] = count + (0 if fresh else length[sequence])
        if slots:
            yield Pass(tuple(slots))


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
