"""The queue: who gets a slot and memory next, and who is refused."""

import math
import time
from collections import deque
from collections.abc import Iterator

from lightmamba.serve.backend import MIB, Backend
from lightmamba.serve.drafts import Drafts
from lightmamba.serve.errors import BUSY, ApiError
from lightmamba.serve.jobs import Job, Session

__all__ = ["Admission"]

NEWEST = 0.1  # weight of the last session in the mean time that one holds its slot


class Admission:
    """Sessions that wait, free slots and free memory.

    A session is let in when there is memory for all tokens that it may have, so that what runs
    never grows beyond the limit. The first one that is ready is the next: none is overtaken because
    it needs much. So a state that is kept for followers never takes the room that they need: they
    wait in front of all that come later, and while they are not ready, their leader has as much.

    Parameters
    ----------
    backend
        Says how many slots there are, and what a sequence needs beyond its slot.
    drafts
        The drafters need memory too.
    queue
        Sessions that may wait.

    Attributes
    ----------
    waiting : deque of Session
        The one that waits longest comes first.
    free : list of int
        Slots.
    limit, used : int
        Bytes that sequences may have beyond their slots, and what is reserved of it.
    segments : int
        Segments of a device's memory that are not reserved.
    """

    def __init__(self, backend: Backend, drafts: Drafts | None, queue: int) -> None:
        self.queue, self.limit, self.used = queue, backend.spare, 0
        self.segments = backend.segments
        self.waiting: deque[Session] = deque()
        self.free = list(range(backend.slots - 1, -1, -1))
        self._backend, self._drafts = backend, drafts
        self._copies: dict[Session, int] = {}  # bytes of states that followers wait for
        self._seconds = 1.0  # that a session holds its slot, a running mean

    def add(self, job: Job) -> None:
        """Let a job wait for its turn.

        Raises
        ------
        ApiError
            400 if there will never be room for one of its sequences, 429 if too many wait who
            cannot begin now.
        """
        for session in job.sessions:
            prompt, tokens = len(session.prompt), session.room - len(session.prompt)
            context, fed = self._backend.context, session.room - 1  # the last token is not fed
            if context and fed > context:
                fewer = context + 1 - prompt
                shorter = f"ask for max_tokens={fewer}" if fewer > 0 else "shorten the prompt"
                raise _too_long(
                    f"a prompt of {prompt:,} tokens and {tokens:,} to generate are more than this "
                    f"server's device has room for, whose context is {context:,}; {shorter}, or "
                    f"compile with --context {fed}"
                )
            session.segments = self._backend.takes(fed)
            if session.segments > self._backend.segments:
                raise _too_long(
                    f"a prompt of {prompt:,} tokens and {tokens:,} to generate take more memory "
                    f"than this server's device has for all sequences; shorten the prompt, ask for "
                    f"fewer max_tokens, or compile with more --sequences"
                )
            session.need = self._backend.needs(session.room)
            if self._drafts is not None:
                session.need += self._drafts.bytes_for(session.room)
            if session.leads:
                session.copy = self._backend.saved_bytes(prompt - 1)
            if session.need + session.copy > self.limit:
                need, limit = (session.need + session.copy) / MIB, self.limit / MIB
                raise _too_long(
                    f"a prompt of {prompt} tokens and {tokens} to generate need {need:,.1f} MiB, "
                    f"and this server has {limit:,.1f} MiB for sequences; shorten the prompt, ask "
                    f"for fewer max_tokens, or start the server with more --memory-mb"
                )
        if self._stuck() >= self.queue:
            turns = len(self.waiting) / self._backend.slots
            seconds = min(60, max(1, math.ceil(turns * self._seconds)))
            raise ApiError(
                BUSY,
                f"the server has as many requests waiting as it may; try again in {seconds} s",
                code="queue_full",
                headers={"Retry-After": str(seconds)},
            )
        self.waiting += job.sessions

    def admit(self) -> Iterator[Session]:
        """Give slots and memory to those that wait longest and are ready."""
        stay: deque[Session] = deque()
        while self.waiting and self.free:
            session = self.waiting.popleft()
            if not session.ready:
                stay.append(session)
            elif (
                self.used + session.need + session.copy <= self.limit
                and session.segments <= self.segments
            ):
                session.slot = self.free.pop()
                self.used += session.need + session.copy
                self.segments -= session.segments
                if session.copy:
                    self._copies[session] = session.copy
                yield session
            else:
                self.waiting.appendleft(session)
                break
        self.waiting.extendleft(reversed(stay))

    def release(self, session: Session) -> None:
        """Take a session's slot back, with the memory that only it used."""
        if session.slot is not None:
            self._backend.end(session.slot)
            self.free.append(session.slot)
            self.used -= session.need
            self.segments += session.segments
            session.slot = session.drafter = None
            held = time.monotonic() - session.admitted
            self._seconds += NEWEST * (held - self._seconds)

    def followed(self, leader: Session) -> None:
        """Note that a session took over its leader's state, which is freed after the last one."""
        leader.followers -= 1
        if not leader.leads:
            self.forget_copy(leader)

    def forget_copy(self, leader: Session) -> None:
        """Free the state that a session's followers would take over."""
        leader.prefix = None
        self.used -= self._copies.pop(leader, 0)

    def forget(self) -> None:
        """Take those out whose job has ended."""
        self.waiting = deque(session for session in self.waiting if session.job.left)

    def _stuck(self) -> int:
        """Sessions that wait and would not be let in now."""
        slots, memory = len(self.free), self.limit - self.used
        for done, session in enumerate(self.waiting):
            slots, memory = slots - 1, memory - session.need - session.copy
            if slots < 0 or memory < 0:
                return len(self.waiting) - done
        return 0


def _too_long(message: str) -> ApiError:
    """A sequence will never have room."""
    return ApiError(400, message, param="max_tokens", code="context_length_exceeded")
