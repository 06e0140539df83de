"""How many tokens to guess for the sequences of a pass, so that all together come sooner.

The j-th guess of a sequence is right with probability p^j, p measured for each. It is made where
p^j tokens, for the seconds that one more token of the pass takes, are more per second than the pass
gives without it. So one stream guesses much, and many streams, which fill a pass themselves,
little. A guess changes when a token comes, never which one.
"""

import heapq
import logging
import time
from collections.abc import Callable, Sequence

from lightmamba.runtime.drafting import Drafter
from lightmamba.runtime.pace import FORGET, MOST, Cost, Drafting
from lightmamba.serve.jobs import Session

__all__ = ["Guesses"]


log = logging.getLogger(__name__)
HOPE, FIRST = 0.01, 0.5  # how fast, and to what, a share goes that is not measured


class Guesses:
    """Guesses of all sequences.

    Parameters
    ----------
    drafter
        Makes what guesses for one sequence.
    most
        Guesses of a sequence in a pass.
    """

    def __init__(self, drafter: Callable[[], Drafter], most: int = MOST) -> None:
        self._drafter, self.most = drafter, min(most, MOST)
        self._cost = Cost()
        self._drafting = Drafting()

    def make(self, sessions: Sequence[Session], room: int) -> None:
        """Let each session guess what pays, together at most ``room`` tokens."""
        counts = [0] * len(sessions)
        if self._cost and sessions:
            total = len(sessions)
            tokens, seconds = float(total), self._cost(total)
            heap = [(-session.right, n) for n, session in enumerate(sessions)]
            heapq.heapify(heap)
            while heap and room > 0:
                chance, n = heapq.heappop(heap)
                session = sessions[n]
                more = max(0.0, self._cost(total + 1) - self._cost(total))
                more += self._drafting.seconds
                if -chance * seconds <= tokens * more:
                    break  # the others are right less often
                if not session.drafts or counts[n] >= min(self.most, session.text.left - 1):
                    continue
                counts[n] += 1
                total, room = total + 1, room - 1
                tokens, seconds = tokens - chance, seconds + more
                heapq.heappush(heap, (chance * session.right, n))
        if not any(counts):
            self._drafting.note(0, 0.0)
        for session, count in zip(sessions, counts, strict=True):
            try:
                session.guess = self._drafted(session, count) if count else []
            except Exception:
                log.exception("a drafter failed; its text goes on without guesses")
                session.guess, session.drafts = [], False
            if not session.guess:
                session.right += HOPE * (FIRST - session.right)

    def note(self, tokens: int, seconds: float) -> None:
        """Learn what a pass took in which nobody reads a prompt."""
        self._cost.note(tokens, seconds)

    def checked(self, session: Session, right: int) -> None:
        """Learn how many guesses of a session were right."""
        for n in range(min(len(session.guess), right + 1)):
            session.right += FORGET * ((n < right) - session.right)

    def _drafted(self, session: Session, count: int) -> list[int]:
        first = session.drafter is None
        if session.drafter is None:
            session.drafter = self._drafter()
        start = time.perf_counter()
        found = list(session.drafter.draft(session.ids, count, session.text.trial))
        if not first:
            self._drafting.note(len(found), time.perf_counter() - start)
        return found
