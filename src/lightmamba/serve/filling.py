"""Which prompts get the room of a pass that the sequences which generate leave.

Most of the room goes to the prompt that needs the fewest tokens until its first answer, so that a
short request does not wait for a long one. One token of four goes to the prompt that has waited
longest for any, so that a long one does not wait for ever.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["TURNS", "Unread", "shared"]

TURNS = 4  # one token in TURNS goes to the prompt that has waited longest


class Unread(NamedTuple):
    """A prompt that is being read.

    Parameters
    ----------
    rest
        Tokens that are still to be read.
    span
        How many of them a pass may read, at least one: a state that is kept ends a span.
    waited
        Turns since it last got a token, or since it came.
    """

    rest: int
    span: int
    waited: int


def shared(prompts: Sequence[Unread], room: int, turn: int) -> list[int]:
    """Tokens that each prompt gets in a pass, together ``room`` where they have as many.

    In any four turns, three quarters of the room go to the shortest rests first: ``n`` tokens that
    are fewer than those of all others are read within ``4 * ceil(n / (3 * room))`` turns. In any
    four turns, the prompt that waited longest gets a token at least once: each of P prompts gets
    one within ``4 * P`` turns, also where the room is a single token.

    Parameters
    ----------
    prompts
        In the order in which they came, which decides between equal ones.
    room
        Tokens that the pass has left for prompts.
    turn
        Number of the pass among those that have room for prompts.
    """
    given = [0] * len(prompts)

    def give(order: Iterable[int], tokens: int) -> int:
        """Fill up one prompt after the other; tokens that are left."""
        for n in order:
            more = min(tokens, prompts[n].span - given[n])
            given[n] += more
            tokens -= more
        return tokens

    numbers = range(len(prompts))
    waiting = (room + turn % TURNS) // TURNS
    left = give(sorted(numbers, key=lambda n: -prompts[n].waited), waiting)
    give(sorted(numbers, key=lambda n: prompts[n].rest), room - waiting + left)
    return given
