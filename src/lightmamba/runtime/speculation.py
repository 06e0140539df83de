"""Several tokens per pass over the weights: guess some, check them all at once.

Each round gives the model the last token and some guesses for those after it. Its logits of every
place come from one pass; tokens are drawn from them in order, as without guesses, and as long as
the drawn one is the guessed one, the next place's logits are right as well. Draws depend on the
seed and on the position alone, so the text is the same with and without guesses, greedy or sampled.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from lightmamba.passes import Pass
from lightmamba.runtime.continuation import Continuation, Step
from lightmamba.runtime.drafting import Drafter, PassDecoder, check_slot

__all__ = ["MOST", "Pace", "Speculation", "speculate"]

MOST = 7  # guesses in a pass
FORGET = 0.1  # weight of the newest measurement
LONGEST_WAIT = 256  # tokens between two trials of what did not pay


@dataclass
class Pace:
    """How many guesses pay, from what passes took and how often guesses were right.

    With a share p of right guesses, a pass with n of them gives (1 - p^(n+1)) / (1 - p) tokens. The
    number is taken that gives most tokens per second; where it is none, guessing is tried again
    after 16 tokens, then after 32, up to 256.

    Parameters
    ----------
    most : int
        Guesses in a pass.
    """

    most: int = MOST
    right: float = 0.7  # share of guesses that were right where the one before was
    seconds: dict[int, float] = field(default_factory=dict)  # of a pass, by its guesses
    drafting: float = 0.0  # seconds of a guess
    _wait: int = 8
    _until: int = 0  # tokens left before the next trial

    def guesses(self) -> int:
        """How many to make now."""
        if self._until > 0:
            return 0
        if 0 not in self.seconds:
            return 0  # a pass without guesses is what the others are compared with
        best = max(range(self.most + 1), key=self._rate)
        if best == 0:
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            self._until = self._wait
            return 2  # a trial, so that a text that begins to repeat itself is noticed
        self._wait = 8
        return best

    def note(self, guesses: int, right: int, seconds: float, drafting: float) -> None:
        """Learn from a pass: its guesses, how many were right, seconds of pass and of drafting."""
        before = self.seconds.get(guesses, seconds)
        self.seconds[guesses] = before + FORGET * (seconds - before)
        self._until -= right + 1
        for n in range(min(guesses, right + 1)):
            self.right += FORGET * ((n < right) - self.right)
        if guesses:
            self.drafting += FORGET * (drafting / guesses - self.drafting)

    def _rate(self, guesses: int) -> float:
        """Tokens per second that so many guesses promise."""
        p = min(self.right, 0.999)
        tokens = (1 - p ** (guesses + 1)) / (1 - p)
        return tokens / (self._seconds(guesses) + guesses * self.drafting)

    def _seconds(self, guesses: int) -> float:
        """Of a pass; where none was measured, on the line through the nearest ones."""
        if (known := self.seconds.get(guesses)) is not None:
            return known
        alone = self.seconds[0]
        slopes = [(t - alone) / n for n, t in self.seconds.items() if n]
        return alone + guesses * max(0.0, sum(slopes) / len(slopes) if slopes else 0.15 * alone)


@dataclass
class Speculation:
    """What guessing brought, so far."""

    tokens: int = 0
    passes: int = 0
    drafted: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float:
        """Share of guesses that were right; not a number without any."""
        return self.accepted / self.drafted if self.drafted else math.nan

    @property
    def tokens_per_pass(self) -> float:
        """Tokens that a pass gave."""
        return self.tokens / self.passes if self.passes else math.nan


def speculate(
    decoder: PassDecoder,
    text: Continuation,
    drafter: Drafter,
    *,
    pace: Pace | None = None,
    report: Speculation | None = None,
) -> Iterator[Step]:
    """Continue a prompt: the steps of :func:`lightmamba.runtime.generate`, in fewer passes.

    Parameters
    ----------
    decoder
        Computes the logits.
    text
        Of the prompt, not begun.
    drafter
        Guesses; of this text alone.
    pace
        How many guesses to make; by default as many as pay, up to :data:`MOST`.
    report
        Is added to.
    """
    pace, seen = pace or Pace(), Speculation() if report is None else report
    ids = text.prompt.tolist()
    state = decoder.empty_state(1, undecided=pace.most)
    logits, state = decoder.forward(text.prompt[None], state)
    step = text.take(logits[:, -1])
    replay = 0
    while True:
        yield step
        if step.finish_reason is not None:
            return
        ids.append(step.token_id)
        begin = time.perf_counter()
        most = min(pace.guesses(), text.left - 1)
        guess = list(drafter.draft(ids, most, text.trial)) if most > 0 else []
        drafted = time.perf_counter()
        rows = decoder.run(Pass((check_slot([ids[-1], *guess], replay),)), state)
        done = time.perf_counter()
        replay, step = 0, text.take(rows[:1])
        while replay < len(guess) and step.token_id == guess[replay] and not step.finish_reason:
            yield step
            ids.append(step.token_id)
            replay += 1
            step = text.take(rows[replay : replay + 1])
        pace.note(len(guess), replay, done - drafted, drafted - begin)
        seen.passes += 1
        seen.tokens += replay + 1
        seen.drafted += len(guess)
        seen.accepted += replay
