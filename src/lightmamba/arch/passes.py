"""Description of a pass for the hardware: its vectors, slots, and the steps of a head.

A pass holds up to T vectors, one token each; those of a sequence are adjacent and form a slot.
The state-space unit goes through the same list of steps in every head: the state of a slot comes
in, accepted tokens of an earlier pass are applied again from the record, then the new ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lightmamba.arch.fields import Field

__all__ = ["ALONE", "SLOT", "STEP", "VECTOR", "Share", "slots", "steps", "vectors"]

VECTOR = (
    Field("used", 1, "a token of the pass; the others change nothing and are not counted"),
    Field("slot", 3, "its slot"),
    Field("place", 3, "which of the slot's tokens it is"),
)
SLOT = (
    Field("used", 1, "there is one"),
    Field("fresh", 1, "its state is zero instead of what memory holds"),
    Field("store", 1, "its state is written"),
    Field("first", 3, "its first vector"),
    Field("replay", 3, "tokens of its last pass that are accepted"),
    Field("commit", 4, "tokens of this pass that are certain"),
)
STEP = (
    Field("recorded", 1, "a vector of the record instead of one of this pass"),
    Field("vector", 3, "which vector"),
    Field("load", 1, "the state comes from memory; else from the step before"),
    Field("store", 1, "the state goes to memory after this step"),
    Field("position", 8, "of the token in its sequence, less that of the pass, modulo 256"),
)


@dataclass(frozen=True)
class Share:
    """One sequence's part of a pass.

    Parameters
    ----------
    tokens : int
        New ones.
    replay, commit : int
        As of :class:`lightmamba.common.passes.Slot`.
    position : int
        Of the first token that is not in the state in memory: the first redone, or the first.
    fresh : bool
    recorded : int
        Vector of the record that holds the first token that is redone.
    redo : int, optional
        Tokens of the record to replay; by default those accepted. 0 if the state in memory already
        includes them, and more if it is the state before the last pass.
    ahead : bool
        The state that is written includes all tokens, undecided ones too.
    """

    tokens: int
    replay: int = 0
    commit: int = 1
    position: int = 0
    fresh: bool = False
    recorded: int = 0
    redo: int | None = None
    ahead: bool = False

    @property
    def redone(self) -> int:
        """Tokens of the record that the state goes through again."""
        return self.replay if self.redo is None else self.redo

    @property
    def steps(self) -> int:
        """Updates of the state of each head."""
        return self.redone + self.tokens

    @property
    def stored(self) -> int:
        """Updates after which the state is written; 0 if it is not."""
        return self.steps if self.ahead else self.redone + self.commit


# The only pass of hardware for one token; whether its state is zero is a flag of the start.
ALONE = Share(1, fresh=True)


def vectors(shares: Sequence[Share]) -> list[dict[str, int]]:
    """A VECTOR for each token of a pass."""
    return [
        {"used": 1, "slot": n, "place": place}
        for n, share in enumerate(shares)
        for place in range(share.tokens)
    ]


def slots(shares: Sequence[Share]) -> list[dict[str, int]]:
    """A SLOT for each sequence."""
    found, first = [], 0
    for share in shares:
        found.append(
            {
                "used": 1,
                "fresh": int(share.fresh),
                "store": int(share.stored > 0),
                "first": first,
                "replay": share.replay,
                "commit": share.commit,
            }
        )
        first += share.tokens
    return found


def steps(shares: Sequence[Share]) -> list[dict[str, int]]:
    """The STEPs of every head; positions count from that of the first share."""
    found, first, origin = [], 0, shares[0].position
    for share in shares:
        for n in range(share.steps):
            again = n < share.redone
            found.append(
                {
                    "recorded": int(again),
                    "vector": share.recorded + n if again else first + n - share.redone,
                    "load": int(n == 0),
                    "store": int(n + 1 == share.stored),
                    "position": (share.position - origin + n) % 256,
                }
            )
        first += share.tokens
    return found
