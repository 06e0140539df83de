"""Length of a draft that pays: measured times of passes against the share of accepted tokens."""

from bisect import bisect_left, insort
from collections import deque
from statistics import median

__all__ = ["FORGET", "MOST", "Cost", "Drafting", "Pace"]

MOST = 7  # drafted tokens in a pass
FORGET = 0.2  # weight of the newest drafted token in the share of accepted ones
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
    """Seconds per drafted token, without a text's first draft, which reads the prompt."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._hope = 1.0  # while nothing is drafted, it is forgotten little by little

    def note(self, drafted: int, seconds: float) -> None:
        """Learn from a pass: its drafted tokens, and the seconds that drafting them took."""
        if drafted:
            self._recent.append(seconds / drafted)
            self._hope = 1.0
        else:
            self._hope *= 1 - 1 / LONG_AGO

    @property
    def seconds(self) -> float:
        """Seconds per drafted token."""
        return self._hope * median(self._recent) if self._recent else 0.0


class Pace:
    """Number of tokens to draft for one text.

    With a share p of accepted tokens, a pass with n drafted ones gives (1 - p^(n+1)) / (1 - p)
    tokens. The n with the most tokens per second is used. If that is 0, one token is drafted as a
    trial after 16 tokens, then after 32, up to 256; after an accepted trial, the next follows at
    once.

    Parameters
    ----------
    most : int
        Drafted tokens in a pass.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most, self.cost, self.drafting = most, Cost(), Drafting()
        self.accepted = 0.6  # share of drafted tokens accepted where those before were
        self._wait, self._until = SHORTEST_WAIT, 0  # tokens between trials, and before the next
        self._read = False  # whether the first draft of the text was made

    def length(self) -> int:
        """Tokens to draft now."""
        if self._until > 0 or not self.cost:
            return 0  # a pass without a draft is what the others are compared with
        return max(1, self._best())

    def note(self, drafted: int, accepted: int, seconds: float, drafting: float) -> None:
        """Learn from a pass: tokens drafted and accepted, seconds of the pass and of drafting."""
        self.cost.note(drafted + 1, seconds)
        self.drafting.note(drafted if self._read else 0, drafting)
        self._until -= accepted + 1
        for n in range(min(drafted, accepted + 1)):
            self.accepted += FORGET * ((n < accepted) - self.accepted)
        if drafted:
            self._read = True
            if accepted == drafted or self._best():
                self._wait, self._until = SHORTEST_WAIT, 0
            else:
                self._wait = min(2 * self._wait, LONGEST_WAIT)
                self._until = self._wait

    def _best(self) -> int:
        """Number of drafted tokens that promises most tokens per second."""
        return max(range(self.most + 1), key=self._rate)

    def _rate(self, drafted: int) -> float:
        """Expected tokens per second with a number of drafted tokens."""
        p = min(self.accepted, 0.999)
        tokens = (1 - p ** (drafted + 1)) / (1 - p)
        return tokens / (self.cost(drafted + 1) + drafted * self.drafting.seconds)
