"""How many guesses pay: what passes take, measured, against how often guesses are right."""

from bisect import bisect_left, insort
from collections import deque
from statistics import median

__all__ = ["FORGET", "MOST", "Cost", "Drafting", "Pace"]

MOST = 7  # guesses in a pass
FORGET = 0.2  # weight of the newest guess in the share of right ones
RECENT = 9  # passes whose median is what a pass takes
DEFAULT = 0.15  # of a pass: what one more token takes, before it was measured
SHORTEST_WAIT, LONGEST_WAIT = 8, 256  # tokens between two trials of what did not pay
LONG_AGO = 64  # passes after which a measurement says little


class Cost:
    """Seconds of a pass by its tokens: medians of the last ones, and lines between them.

    Sizes that were not run for a while are forgotten, so that one slow pass is.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._passes: dict[int, deque[float]] = {}
        self._last: dict[int, int] = {}  # pass in which a size ran last
        self._count = 0

    def __bool__(self) -> bool:
        """Whether anything was measured."""
        return bool(self._sizes)

    def note(self, tokens: int, seconds: float) -> None:
        """Learn from a pass."""
        self._count += 1
        if tokens not in self._passes:
            self._passes[tokens] = deque(maxlen=RECENT)
            insort(self._sizes, tokens)
        self._passes[tokens].append(seconds)
        self._last[tokens] = self._count
        for size in [n for n in self._sizes if self._last[n] <= self._count - LONG_AGO]:
            self._sizes.remove(size)
            del self._passes[size], self._last[size]

    def __call__(self, tokens: int) -> float:
        """Seconds of a pass by its number of tokens; something must have been measured."""
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


class Drafting:
    """Seconds of a guess, without the first ones of a text, for which a model reads its prompt."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._hope = 1.0  # while nothing is drafted, it is forgotten little by little

    def note(self, guesses: int, seconds: float) -> None:
        """Learn from a pass: its guesses, and the seconds that they took together."""
        if guesses:
            self._recent.append(seconds / guesses)
            self._hope = 1.0
        else:
            self._hope *= 1 - 1 / LONG_AGO

    @property
    def seconds(self) -> float:
        """Of one guess."""
        return self._hope * median(self._recent) if self._recent else 0.0


class Pace:
    """How many guesses to make for one text.

    With a share p of right guesses, a pass with n of them gives (1 - p^(n+1)) / (1 - p) tokens. The
    number is taken that gives most tokens per second. Where it is none, one guess is tried after 16
    tokens, then after 32, up to 256; while such a trial is right, the next one follows at once.

    Parameters
    ----------
    most : int
        Guesses in a pass.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most, self.cost, self.drafting = most, Cost(), Drafting()
        self.right = 0.6  # share of guesses that were right where those before were
        self._wait, self._until = SHORTEST_WAIT, 0  # tokens between trials, and before the next
        self._read = False  # whether the first guesses of the text were made

    def guesses(self) -> int:
        """How many to make now."""
        if self._until > 0 or not self.cost:
            return 0  # a pass without guesses is what the others are compared with
        return max(1, self._best())

    def note(self, guesses: int, right: int, seconds: float, drafting: float) -> None:
        """Learn from a pass: its guesses, how many were right, seconds of pass and of drafting."""
        self.cost.note(guesses + 1, seconds)
        self.drafting.note(guesses if self._read else 0, drafting)
        self._until -= right + 1
        for n in range(min(guesses, right + 1)):
            self.right += FORGET * ((n < right) - self.right)
        if guesses:
            self._read = True
            if right == guesses or self._best():
                self._wait, self._until = SHORTEST_WAIT, 0
            else:
                self._wait = min(2 * self._wait, LONGEST_WAIT)
                self._until = self._wait

    def _best(self) -> int:
        """The number of guesses that promises most tokens per second."""
        return max(range(self.most + 1), key=self._rate)

    def _rate(self, guesses: int) -> float:
        """Expected tokens per second with a number of drafts."""
        p = min(self.right, 0.999)
        tokens = (1 - p ** (guesses + 1)) / (1 - p)
        return tokens / (self.cost(guesses + 1) + guesses * self.drafting.seconds)
