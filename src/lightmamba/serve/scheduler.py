"""The thread that computes: it fills passes from all sequences that have a slot.

A pass takes the next token of every sequence that is generating, and with the room that is left
further tokens of prompts, the oldest first. So a long prompt does not stop the others, and the
weights are read once for all of them. Guesses leave half of a pass to prompts. What a sequence gets
does not depend on its neighbours.
"""

import logging
import math
import threading
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from lightmamba.errors import DeviceError
from lightmamba.passes import Pass, Slot
from lightmamba.serve.backend import Backend
from lightmamba.serve.errors import ApiError, busy, stopping
from lightmamba.serve.guesses import Guesses
from lightmamba.serve.jobs import Event, Job, Session
from lightmamba.serve.metrics import Metrics
from lightmamba.serve.prefix import BLOCK, WORTH, PrefixCache

__all__ = ["Scheduler"]

TOTALS_SECONDS = 1.0  # between two looks at the backend's own counters
log = logging.getLogger(__name__)


class Scheduler:
    """Queue, slots and passes.

    Parameters
    ----------
    backend
        What runs the tokens; from :meth:`start` on, only the scheduler's thread calls it.
    cache
        Of states after prompts.
    metrics
        What happens is counted there.
    queue
        Sessions that may wait.
    guesses
        Speculation, which the backend's passes must have room for.
    """

    def __init__(
        self,
        backend: Backend,
        cache: PrefixCache,
        metrics: Metrics,
        *,
        queue: int = 256,
        guesses: Guesses | None = None,
    ) -> None:
        self.backend, self.cache, self.metrics, self.queue = backend, cache, metrics, queue
        self.guesses = guesses
        self._waiting: deque[Session] = deque()
        self._running: list[Session] = []
        self._free = list(range(backend.slots - 1, -1, -1))
        self._out: dict[Job, list[Event | ApiError]] = {}
        self._work = threading.Condition()
        self._closing = self._draining = False
        self._broken: ApiError | None = None  # what requests are told when nothing runs any more
        self._totals_at, self._end = 0.0, math.inf
        self._seconds = 1.0  # that a session holds its slot, a running mean
        self._ran = backend.ran  # passes that are counted
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        metrics.gauge("waiting_sequences", "Sequences that wait for a slot.",
                      lambda: float(self.waiting))  # fmt: skip
        metrics.gauge("running_sequences", "Sequences that have a slot.",
                      lambda: float(self.running))  # fmt: skip
        metrics.gauge("slots", "Sequences that may run together.", lambda: float(backend.slots))
        metrics.gauge("prefix_bytes", "Memory of the prefix cache.", lambda: float(cache.used))
        metrics.gauge("prefix_states", "States in the prefix cache.", lambda: float(len(cache)))

    @property
    def waiting(self) -> int:
        """Sessions that wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Sessions that have a slot."""
        return len(self._running)

    @property
    def alive(self) -> bool:
        """Whether the thread computes, or would."""
        return self._thread.is_alive()

    @property
    def broken(self) -> bool:
        """Whether the backend failed and could not be set up again."""
        return self._broken is not None

    @property
    def draining(self) -> bool:
        """Whether new requests are refused."""
        return self._draining

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def drain(self, seconds: float) -> None:
        """Refuse new requests from now on, and end those that still run after some seconds.

        It only sets flags, so that a handler of signals may call it.
        """
        self._end = time.monotonic() + seconds
        self._draining = True

    def close(self) -> None:
        """End what runs and wait for the thread; clients are told that the server stops."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join()

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn.

        Raises
        ------
        ApiError
            429 if too many wait who will get no free slot, 503 if the server is stopping.
        """
        with self._work:
            if self._broken is not None:
                raise self._broken
            if self._draining or not self._thread.is_alive():
                raise stopping()
            if len(self._waiting) - len(self._free) >= self.queue:
                self.metrics.refused.inc()
                turns = len(self._waiting) / self.backend.slots
                raise busy(min(60, max(1, math.ceil(turns * self._seconds))))
            self._waiting += job.sessions
            self._work.notify()

    def cancel(self, job: Job) -> None:
        """Give a job up: its client is gone."""
        if job.left and not job.cancelled:
            self.metrics.cancelled.inc()
            with self._work:
                job.cancelled = True
                self._work.notify()

    def _run(self) -> None:
        while not self._closing and self._broken is None:
            try:
                with self._work:
                    while not (self._waiting or self._running or self._closing):
                        self._work.wait()
                    self._drop()
                    self._admit()
                self._pass()
            except Exception as error:
                self._failed(error)
            self._flush()
        with self._work:
            self._draining = True
            for job in dict.fromkeys(session.job for session in (*self._waiting, *self._running)):
                self._fail(job, self._broken or stopping())
            self._waiting.clear()
        self._flush()

    def _drop(self) -> None:
        """Forget sessions whose job was given up or has taken too long."""
        now = time.monotonic()
        jobs = dict.fromkeys(session.job for session in (*self._running, *self._waiting))
        for job in jobs:
            if job.cancelled:
                self._fail(job, None)
            elif now > self._end:
                self._fail(job, stopping())
            elif now > job.deadline:
                self.metrics.timed_out.inc()
                self._fail(job, ApiError(
                    408, f"the request took longer than {job.deadline - job.arrived:g} s; "
                    f"ask for fewer tokens, or try when the server is less busy",
                    kind="server_error", code="timeout",
                ))  # fmt: skip
        self._waiting = deque(s for s in self._waiting if s.job.left)

    def _admit(self) -> None:
        """Give free slots to those that wait longest and are ready."""
        if not self._free:
            return
        stay: deque[Session] = deque()
        while self._waiting and self._free:
            session = self._waiting.popleft()
            if session.ready:
                self._begin(session, self._free.pop())
            else:
                stay.append(session)
        self._waiting.extendleft(reversed(stay))

    def _begin(self, session: Session, slot: int) -> None:
        """Put a session into a slot, after as much of its prompt as is known already."""
        session.slot, session.admitted = slot, time.monotonic()
        self._running.append(session)
        prompt = session.prompt
        if session.leader is not None:
            self.backend.restore(slot, session.leader.prefix)
            session.done = len(prompt) - 1
            return
        self.metrics.prompt_tokens.inc(len(prompt))
        if self.cache.on and len(prompt) > WORTH:
            if (found := self.cache.longest(prompt[:-1])) is not None:
                session.done, saved = found
                session.cached = session.done
                self.backend.restore(slot, saved)
                if session.leads and session.done == len(prompt) - 1:
                    session.prefix = saved
                self.metrics.prefix_hits.inc()
                self.metrics.prefix_tokens.inc(session.done)
                return
            self.metrics.prefix_misses.inc()
        self.backend.begin(slot)
        session.done = 0

    def _pass(self) -> None:
        """Choose tokens, run them, and draw from the logits."""
        slots, owners = self._filled()
        if not slots:
            return
        work, start = Pass(tuple(slots)), self.backend.seconds()
        logits = self.backend.run(work)
        if self.guesses is not None and not any(session.reading for session in owners):
            self.guesses.note(work.tokens, self.backend.seconds() - start)
        self.metrics.passes.inc(self.backend.ran - self._ran)
        self._ran = self.backend.ran
        self.metrics.computed_tokens.inc(work.tokens)
        row, drawn = 0, 0
        for slot, session in zip(slots, owners, strict=True):
            session.done += slot.committed
            if session.reading:
                self._keep(session)
            if slot.wanted:
                drawn += self._check(session, logits[row : row + slot.wanted])
                row += slot.wanted
        if drawn:
            self.metrics.generated(drawn)
        self._running = [session for session in self._running if session.slot is not None]
        self._take_totals()

    def _filled(self) -> tuple[list[Slot], list[Session]]:
        """Slots of one pass and whose they are."""
        slots, owners, whole = [], [], self.backend.pass_tokens
        writing = [(s, s.slot) for s in self._running if not s.reading and s.slot is not None]
        if self.guesses is not None:
            unread = sum(len(s.prompt) - s.done for s in self._running if s.reading)
            room = -len(writing) % whole - min(unread, whole // 2)
            self.guesses.make([session for session, _ in writing], room)
        for session, slot in writing:
            ids = np.array([session.ids[-1], *session.guess], dtype=np.int64)
            slots.append(Slot(slot, ids, len(ids), replay=session.replay, commit=1))
            owners.append(session)
            session.replay = 0
        # Prompts go on, however many are generating: they fill the last pass, or have their own.
        room = whole - sum(len(slot.tokens) for slot in slots) % whole
        for session in self._running:
            if room <= 0:
                break
            if session.reading and session.slot is not None:
                end = min(session.done + room, self._stop_at(session))
                ids = session.prompt[session.done : end]
                wanted = int(end == len(session.prompt))
                slots.append(Slot(session.slot, ids, wanted))
                owners.append(session)
                room -= len(ids)
        return slots, owners

    def _stop_at(self, session: Session) -> int:
        """Where the next span of a prompt ends at the latest: where its state will be kept."""
        last = len(session.prompt) - 1
        wanted = session.leads or (self.cache.on and last >= WORTH)
        if not wanted or session.done >= last:
            return last + 1
        return min(last, (session.done // BLOCK + 1) * BLOCK)

    def _keep(self, session: Session) -> None:
        """Keep the state after a part of a prompt, where others may begin there too."""
        prompt, done = session.prompt, session.done
        last = done == len(prompt) - 1
        cached = self.cache.on and done >= WORTH and (last or done % BLOCK == 0)
        if not (cached or (last and session.leads)) or session.slot is None:
            return
        if cached and not (last and session.leads) and self.cache.has(prompt[:done]):
            return
        saved = self.backend.save(session.slot)
        if cached:
            self.cache.put(prompt[:done], saved)
        if last and session.leads:
            session.prefix = saved

    def _check(self, session: Session, logits: NDArray[np.int32]) -> int:
        """Draw from the logits of a session's places, as long as what is drawn was guessed.

        Returns how many tokens were drawn.
        """
        guess, right = session.guess, 0
        while not self._draw(session, logits[right : right + 1]):
            if right == len(guess) or session.ids[-1] != guess[right]:
                break
            right += 1
            session.done += 1
            session.replay = right
        if guess and self.guesses is not None:
            drawn = right + (right < len(guess) and session.ids[-1] == guess[right])
            self.guesses.checked(session, drawn)
            self.metrics.guesses.inc(len(guess))
            self.metrics.right_guesses.inc(drawn)
        session.guess = []
        return right + 1

    def _draw(self, session: Session, logits: NDArray[np.int32]) -> bool:
        """Draw the next token of a session, and end it after its last; whether it was the last."""
        job = session.job
        step = session.text.take(logits)
        session.tokens.append(step.token_id)
        session.ids.append(step.token_id)
        if job.first is None:
            job.first = time.monotonic()
            self.metrics.first_token.observe(job.first - job.arrived)
        if step.text or step.finish_reason is not None:
            self._out.setdefault(job, []).append(Event(session.choice, step))
        if step.finish_reason is None:
            return False
        if session.keep and self.cache.on and session.slot is not None and session.done >= WORTH:
            ids = np.array(session.ids[:-1], dtype=np.int64)
            self.cache.put(ids, self.backend.save(session.slot, session.guess[: session.replay]))
        now = time.monotonic()
        self._seconds += 0.1 * (now - session.admitted - self._seconds)
        self._release(session)
        job.left -= 1
        if not job.left:
            self.metrics.answer.observe(now - job.arrived)
        return True

    def _release(self, session: Session) -> None:
        """Take a session's slot back."""
        if session.slot is not None:
            self._free.append(session.slot)
            session.slot = None

    def _take_totals(self) -> None:
        """Read the backend's own counters; a device's take time, so not at every token."""
        now = time.monotonic()
        if not self._running or now > self._totals_at:
            self._totals_at = now + TOTALS_SECONDS
            self.metrics.totals(self.backend.saturations(), self.backend.cycles())

    def _fail(self, job: Job, error: ApiError | None) -> None:
        """End all sessions of a job."""
        for session in job.sessions:
            if session.slot is not None:
                self._release(session)
        self._running = [session for session in self._running if session.job is not job]
        if job.left and error is not None:
            self._out.setdefault(job, []).append(error)
        job.left = 0

    def _failed(self, error: Exception) -> None:
        """A pass raised: end what ran, and go on with what waits."""
        log.error("a pass failed", exc_info=error)
        what = str(error) if isinstance(error, DeviceError) else "the model could not be run"
        answer = ApiError(500, f"{what}; the server goes on, try again", kind="server_error",
                          code="failed")  # fmt: skip
        for job in dict.fromkeys(session.job for session in self._running):
            self._fail(job, answer)
        try:
            self.backend.recover()
        except Exception as again:
            log.error("the backend cannot be used any more", exc_info=again)
            self._broken = ApiError(
                503, f"{what}, and could not be set up again; restart the server",
                kind="server_error", code="failed",
            )  # fmt: skip

    def _flush(self) -> None:
        """Hand over what a pass gave, all at once."""
        out, self._out = self._out, {}
        if not out:
            return
        loop = next(iter(out)).loop
        try:
            loop.call_soon_threadsafe(_deliver, out)
        except RuntimeError:
            log.info("the event loop is closed; nobody waits for what was computed")


def _deliver(out: dict[Job, list[Event | ApiError]]) -> None:
    for job, items in out.items():
        job.deliver(items)
