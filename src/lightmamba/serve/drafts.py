"""Number of tokens to draft for each sequence of a pass, for the most tokens per second in all.

The j-th token of a draft is accepted with probability p^j, with p measured for each sequence. It is
drafted if p^j tokens, in the seconds that one more token of the pass takes, are more per second
than the pass gives without it. So one stream drafts much, and many streams, which fill a pass
themselves, draft little. Drafting changes when a token comes, never which one.
"""

import heapq
import logging
import time
from collections.abc import Callable, Sequence

from lightmamba.serve.jobs import Session
from lightmamba.text.drafting import PiecewiseDrafter
from lightmamba.text.pace import FORGET, MOST, Cost, Drafting

__all__ = ["Drafts"]


log = logging.getLogger(__name__)
HOPE, FIRST = 0.01, 0.5  # how fast, and to what, a share goes that is not measured


class Drafts:
    """Drafts of all sequences.

    Parameters
    ----------
    drafter
        Makes the drafter of one sequence.
    most
        Drafted tokens of a sequence in a pass.
    """

    def __init__(self, drafter: Callable[[], PiecewiseDrafter], most: int = MOST) -> None:
        self._drafter, self.most = drafter, min(most, MOST)
        self._one = drafter()  # of no text
        self._cost = Cost()
        self._drafting = Drafting()

    def bytes_for(self, tokens: int) -> int:
        """Bytes of the drafter of one text, by the length of the text in tokens."""
        return self._one.bytes_for(tokens, self.most)

    def make(self, sessions: Sequence[Session], room: int) -> None:
        """Let each session draft what pays, together at most ``room`` tokens.

        A drafter that has much of its text to read takes a piece first, and drafts later. Together
        they read one piece at a time, the shortest rest first, so that no other text waits.
        """
        counts = self._counts(sessions, room)
        if not any(counts):
            self._drafting.note(0, 0.0)
        room = self._one.piece
        for n in sorted(range(len(sessions)), key=lambda n: _unread(sessions[n])):
            session = sessions[n]
            session.draft = []
            try:
                if counts[n]:
                    room -= self._draft(session, counts[n], room)
            except Exception:
                log.exception("a drafter failed; its text goes on without drafts")
                session.speculates = False
            if not session.draft:
                session.right += HOPE * (FIRST - session.right)

    def _counts(self, sessions: Sequence[Session], room: int) -> list[int]:
        """Number of drafted tokens that pay, of each session."""
        counts = [0] * len(sessions)
        if not (self._cost and sessions):
            return counts
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
            if not session.speculates or counts[n] >= min(self.most, session.text.left - 1):
                continue
            counts[n] += 1
            total, room = total + 1, room - 1
            tokens, seconds = tokens - chance, seconds + more
            heapq.heappush(heap, (chance * session.right, n))
        return counts

    def note(self, tokens: int, seconds: float) -> None:
        """Learn what a pass took in which nobody reads a prompt."""
        self._cost.note(tokens, seconds)

    def checked(self, session: Session, right: int) -> None:
        """Learn how many drafted tokens of a session were accepted."""
        for n in range(min(len(session.draft), right + 1)):
            session.right += FORGET * ((n < right) - session.right)

    def _draft(self, session: Session, count: int, room: int) -> int:
        """Draft, or read as much as there is room for; tokens of the room that were read."""
        first = session.drafter is None
        drafter = session.drafter = session.drafter or self._drafter()
        unread = drafter.unread(session.ids)
        few = unread <= MOST + 1  # what a pass gave: no more than a pass verifies
        if not few and unread > room:
            if room:
                drafter.read(session.ids, room)
            return room
        start = time.perf_counter()
        session.draft = list(drafter.draft(session.ids, count, session.text.trial))
        if few and not first:
            self._drafting.note(len(session.draft), time.perf_counter() - start)
        return 0 if few else unread


def _unread(session: Session) -> int:
    """Tokens that a session's drafter has not read."""
    return len(session.ids) if session.drafter is None else session.drafter.unread(session.ids)
