"""The queue: who gets the next free slot, and who is refused."""

import math
import time
from collections import deque
from collections.abc import Iterator

from lightmamba.serve.errors import busy
from lightmamba.serve.jobs import Job, Session

__all__ = ["Admission"]

HURRY = 0.1  # weight of the last session in the mean time that one holds its slot


class Admission:
    """Sessions that wait, and free slots.

    Parameters
    ----------
    slots
        Sessions that may run together.
    queue
        Sessions that may wait.

    Attributes
    ----------
    waiting : deque of Session
        The one that waits longest comes first.
    free : list of int
        Slots.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self.slots, self.queue = slots, queue
        self.waiting: deque[Session] = deque()
        self.free = list(range(slots - 1, -1, -1))
        self._seconds = 1.0  # that a session holds its slot, a running mean

    def add(self, job: Job) -> None:
        """Let a job wait for its turn.

        Raises
        ------
        ApiError
            429 if too many wait who will get no free slot.
        """
        if len(self.waiting) - len(self.free) >= self.queue:
            turns = len(self.waiting) / self.slots
            raise busy(min(60, max(1, math.ceil(turns * self._seconds))))
        self.waiting += job.sessions

    def admit(self) -> Iterator[Session]:
        """Give free slots to those that wait longest and are ready."""
        stay: deque[Session] = deque()
        while self.waiting and self.free:
            session = self.waiting.popleft()
            if session.ready:
                session.slot = self.free.pop()
                yield session
            else:
                stay.append(session)
        self.waiting.extendleft(reversed(stay))

    def release(self, session: Session) -> None:
        """Take a session's slot back."""
        if session.slot is not None:
            self.free.append(session.slot)
            session.slot = None
            held = time.monotonic() - session.admitted
            self._seconds += HURRY * (held - self._seconds)

    def forget(self) -> None:
        """Take those out whose job has ended."""
        self.waiting = deque(session for session in self.waiting if session.job.left)
