"""Passes of random composition, as hardware of several tokens takes them."""

from collections.abc import Iterator

import numpy as np

from lightmamba.passes import Pass, Slot

__all__ = ["random_passes"]


def random_passes(
    rng: np.random.Generator, *, tokens: int, sequences: int, undecided: int, vocab: int
) -> Iterator[Pass]:
    """Go on for ever: chunks, batches, guesses, ragged and mixed, sequences that begin anew.

    All that a pass accepts is of one earlier pass.
    """
    left = dict.fromkeys(range(sequences), (0, -1))  # what each left undecided, and in which pass
    begun: set[int] = set()
    number = 0
    while True:
        room = tokens if rng.random() < 0.5 else int(rng.integers(1, tokens + 1))
        slots, source = list[Slot](), -1
        for sequence in rng.permutation(sequences):
            sequence = int(sequence)
            if not room:
                break
            count = int(rng.integers(1, room + 1))
            fresh = sequence not in begun or rng.random() < 0.05
            open_, made = (0, -1) if fresh else left[sequence]
            replay = 0
            if source in (-1, made):
                replay = open_ if rng.random() < 0.5 else int(rng.integers(0, open_ + 1))
            source = made if replay else source
            least = max(int(fresh), count - undecided)  # the first of all is certain
            commit = count if rng.random() < 0.3 else int(rng.integers(least, count + 1))
            ids = rng.integers(3, vocab, count)
            wanted = int(rng.integers(0, count + 1))
            slots.append(Slot(sequence, ids, wanted, fresh, replay, commit))
            room -= count
            begun.add(sequence)
            left[sequence] = count - commit, number
        yield Pass(tuple(slots))
        number += 1
