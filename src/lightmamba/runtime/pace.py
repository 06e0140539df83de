"""How many guesses pay: what passes take, measured, against how often guesses are right."""

from bisect import bisect_left, insort
from collections import deque
from statistics import median

__all__ = ["FORGET", "MOST", "Cost", "Pace"]

MOST = 7  # guesses in a pass
FORGET = 0.2  # weight of the newest guess in the share of right ones
RECENT = 9  # passes whose median is what a pass takes
DEFAULT = 0.15  # of a pass: what one more token takes, before it was measured
LONGEST_WAIT = 256  # tokens between two trials of what did not pay


class Cost:
    """Seconds of a pass by its tokens: medians of the last ones, and lines between them."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._passes: dict[int, deque[float]] = {}

    def __bool__(self) -> bool:
        """Whether anything was measured."""
        return bool(self._sizes)

    def note(self, tokens: int, seconds: float) -> None:
        """Learn from a pass."""
        if tokens not in self._passes:
            self._passes[tokens] = deque(maxlen=RECENT)
            insort(self._sizes, tokens)
        self._passes[tokens].append(seconds)

    def __call__(self, tokens: int) -> float:
        """Seconds of a pass of so many tokens; something must have been measured."""
        at = bisect_left(self._sizes, tokens)
        if at < len(self._sizes) and self._sizes[at] == tokens:
            return median(self._passes[tokens])
        if len(self._sizes) == 1:
            size = self._sizes[0]
            alone = self(size)
            return max(alone * (1 + DEFAULT * (tokens - size) / size), DEFAULT * alone)
        at = min(max(at, 1), len(self._sizes) - 1)  # the last line goes on
        low, high = self._sizes[at - 1], self._sizes[at]
        least = self(low)
        slope = max(0.0, self(high) - least) / (high - low)
        return max(least + slope * (tokens - low), DEFAULT * least)


class Pace:
    """How many guesses to make for one text.

    With a share p of right guesses, a pass with n of them gives (1 - p^(n+1)) / (1 - p) tokens. The
    number is taken that gives most tokens per second; where it is none, guessing is tried again
    after 16 tokens, then after 32, up to 256.

    Parameters
    ----------
    most : int
        Guesses in a pass.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most, self.cost = most, Cost()
        self.right = 0.6  # share of guesses that were right where those before were
        self.drafting = 0.0  # seconds of a guess
        self._wait, self._until = 8, 0  # tokens between two trials, and left before the next one

    def guesses(self) -> int:
        """How many to make now."""
        if self._until > 0 or not self.cost:
            return 0  # a pass without guesses is what the others are compared with
        best = max(range(self.most + 1), key=self._rate)
        if best == 0:
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            self._until = self._wait
            return 1  # a trial, so that a text that begins to repeat itself is noticed
        self._wait = 8
        return best

    def note(self, guesses: int, right: int, seconds: float, drafting: float) -> None:
        """Learn from a pass: its guesses, how many were right, seconds of pass and of drafting."""
        self.cost.note(guesses + 1, seconds)
        self._until -= right + 1
        for n in range(min(guesses, right + 1)):
            self.right += FORGET * ((n < right) - self.right)
        if guesses:
            self.drafting += FORGET * (drafting / guesses - self.drafting)

    def _rate(self, guesses: int) -> float:
        """Tokens per second that so many guesses promise."""
        p = min(self.right, 0.999)
        tokens = (1 - p ** (guesses + 1)) / (1 - p)
        return tokens / (self.cost(guesses + 1) + guesses * self.drafting)
