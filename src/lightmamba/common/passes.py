"""The unit of work that engine, device and hardware share: some tokens of some sequences.

A pass reads all weights once. It gives each sequence exactly the integers that its tokens would
give one by one, whatever else is in the pass.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError

__all__ = ["Pass", "Slot", "carry_out", "split"]


@dataclass(frozen=True)
class Slot:
    """Consecutive tokens of one sequence.

    Parameters
    ----------
    sequence : int
        Which one: a row of the engine's state, or a sequence that is on the device.
    tokens : (count,) int64
        Its next tokens, at least one.
    wanted : int
        Of how many of them, the last ones, logits are wanted.
    fresh : bool
        Whether the sequence begins here: its state is zero before the first token.
    replay : int
        How many of the tokens that the last pass left undecided are accepted, the first ones; the
        others are forgotten.
    commit : int, optional
        How many of these tokens are certain, the first ones; by default all. The others are
        undecided until the sequence's next pass.
    """

    sequence: int
    tokens: NDArray[np.int64]
    wanted: int = 1
    fresh: bool = False
    replay: int = 0
    commit: int | None = None

    @property
    def committed(self) -> int:
        """Tokens that are certain."""
        return len(self.tokens) if self.commit is None else self.commit


@dataclass(frozen=True)
class Pass:
    """Slots of different sequences.

    Raises
    ------
    InputError
        If there is none, one is empty or not of whole numbers, asks for more logits or commits more
        tokens than it has, or accepts tokens of a sequence that begins, or two are of one sequence.
    """

    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        if not self.slots:
            raise InputError("a pass needs at least one token")
        seen: set[int] = set()
        for slot in self.slots:
            shape = getattr(slot.tokens, "shape", None)
            if shape is None or len(shape) != 1 or not shape[0]:
                raise InputError(f"a slot's tokens must be (count,), at least one, not {shape}")
            if slot.tokens.dtype.kind not in "iu":
                raise InputError(f"token ids must be whole numbers, not {slot.tokens.dtype}")
            if not 0 <= slot.wanted <= shape[0]:
                raise InputError(
                    f"a slot of {shape[0]} tokens has no logits of its last {slot.wanted}"
                )
            if not 0 <= slot.committed <= shape[0]:
                raise InputError(f"a slot of {shape[0]} tokens cannot commit {slot.commit}")
            if slot.replay < 0 or (slot.fresh and slot.replay):
                raise InputError(
                    f"a slot cannot accept {slot.replay} tokens of before"
                    + (": its sequence begins" if slot.fresh else "")
                )
            if slot.sequence in seen:
                raise InputError(
                    f"sequence {slot.sequence} is in a pass twice; give its tokens as one slot"
                )
            seen.add(slot.sequence)

    @property
    def tokens(self) -> int:
        """Tokens of all slots."""
        return sum(len(slot.tokens) for slot in self.slots)

    @property
    def wanted(self) -> int:
        """Logits of all slots."""
        return sum(slot.wanted for slot in self.slots)


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

    A sequence's tokens stay in order. The undecided ones are in its last pass, all of them, even
    if they are more than ``most``.

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
    if work.tokens <= most and (
        len(work.slots) == 1 or len({origin(slot) for slot in work.slots} - {None}) <= 1
    ):
        return [(work, list(range(len(work.slots))))]
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


def carry_out(
    work: Pass,
    most: int,
    run: Callable[[Pass], NDArray[np.int32]],
    origin: Callable[[Slot], Hashable] = lambda slot: None,
) -> NDArray[np.int32]:
    """Run any pass as passes of ``most`` tokens; see :func:`split`.

    Parameters
    ----------
    work, most, origin
        As for :func:`split`.
    run
        Runs one of them; returns logits, (wanted, vocab_size), in the order of its slots.

    Returns
    -------
    logits : (wanted, vocab_size) int32
        In the order of the slots of ``work``.
    """
    parts = split(work, most, origin)
    if len(parts) == 1:
        return run(parts[0][0])
    ends = np.cumsum([slot.wanted for slot in work.slots]).tolist()
    places = [end - slot.wanted for end, slot in zip(ends, work.slots, strict=True)]
    found = np.empty((0, 0), dtype=np.int32)
    for part, owners in parts:
        logits = run(part)
        if not found.size:
            found = np.empty((work.wanted, logits.shape[1]), dtype=np.int32)
        for slot, owner in zip(part.slots, owners, strict=True):
            begin, places[owner] = places[owner], places[owner] + slot.wanted
            found[begin : places[owner]] = logits[: slot.wanted]
            logits = logits[slot.wanted :]
    return found
