"""The unit of work that engine, device and hardware share: some tokens of some sequences.

A pass reads all weights once. It gives each sequence exactly the integers that its tokens would
give one by one, whatever else is in the pass.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

from lightmamba.errors import InputError

__all__ = ["Pass", "Slot"]


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
    tokens: "NDArray[np.int64]"
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
        If there is none, one is empty, asks for more logits or commits more tokens than it has, or
        accepts tokens of a sequence that begins, or two are of one sequence.
    """

    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        if not self.slots:
            raise InputError("a pass needs at least one token")
        times = Counter(slot.sequence for slot in self.slots)
        for slot in self.slots:
            shape = getattr(slot.tokens, "shape", None)
            if shape is None or len(shape) != 1 or not shape[0]:
                raise InputError(f"a slot's tokens must be (count,), at least one, not {shape}")
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
            if times[slot.sequence] > 1:
                raise InputError(
                    f"sequence {slot.sequence} is in a pass twice; give its tokens as one slot"
                )

    @property
    def tokens(self) -> int:
        """Tokens of all slots."""
        return sum(len(slot.tokens) for slot in self.slots)

    @property
    def wanted(self) -> int:
        """Logits of all slots."""
        return sum(slot.wanted for slot in self.slots)
