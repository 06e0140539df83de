"""The sequences that have a slot, and passes over their tokens.

A pass takes the next token of every sequence that is generating, and with the room that is left
further tokens of prompts. So a long prompt does not stop the others, and the weights are read once
for all of them. Drafts leave half of a pass to prompts. What a sequence gets does not depend on
its neighbours.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError
from lightmamba.common.passes import Pass, Slot
from lightmamba.serve.admission import Admission
from lightmamba.serve.backend import Backend
from lightmamba.serve.drafts import Drafts
from lightmamba.serve.errors import ApiError
from lightmamba.serve.filling import Unread, shared
from lightmamba.serve.jobs import Event, Job, Outbox, Session
from lightmamba.serve.metrics import Metrics
from lightmamba.serve.prefix import BLOCK, WORTH, PrefixCache
from lightmamba.text.continuation import Step

__all__ = ["Batch"]

NO_TOKEN = -1  # of the last step of a sequence that generates nothing
SCORED = 32  # tokens of a scored prompt in a pass, each with a row of logits
TOTALS_SECONDS = 1.0  # between two looks at the backend's own counters
log = logging.getLogger(__name__)


class Batch:
    """Sequences that are computed together.

    Parameters
    ----------
    backend
        What runs the tokens.
    cache
        Of states after prompts.
    metrics
        What happens is counted there.
    drafts
        Speculation, which the backend's passes must have room for.
    out
        Takes the steps.
    admission
        Takes slots and memory back.

    Attributes
    ----------
    sessions : list of Session
        Those that have a slot, in the order in which they got it.
    """

    def __init__(
        self,
        backend: Backend,
        cache: PrefixCache,
        metrics: Metrics,
        drafts: Drafts | None,
        out: Outbox,
        admission: Admission,
    ) -> None:
        self.backend, self.cache, self.metrics, self.drafts = backend, cache, metrics, drafts
        self.sessions: list[Session] = []
        self._out, self._admission = out, admission
        self._turn = 0  # passes that had room for prompts
        self._totals_at = 0.0
        self._ran = backend.ran  # passes that are counted

    def begin(self, sessions: Sequence[Session]) -> None:
        """Take in sequences that were given a slot."""
        self.sessions += sessions
        for session in sessions:
            session.admitted, session.moved = time.monotonic(), self._turn
            session.ids = session.prompt.tolist()
            with self._guarded(session):
                if session.slot is not None:
                    self._begin(session, session.slot)

    def fail(self, job: Job, error: ApiError | None) -> None:
        """End all sequences of a job, and say why."""
        for session in job.sessions:
            self._admission.release(session)
            self._admission.forget_copy(session)
        self.sessions = [session for session in self.sessions if session.job is not job]
        if job.left and error is not None:
            self._out.put(job, error)
        job.left = 0

    def run(self) -> None:
        """Choose tokens, run them, and draw from the logits."""
        slots, owners = self._filled()
        if not slots:
            return
        work, start = Pass(tuple(slots)), self.backend.seconds()
        logits = self.backend.run(work)
        if self.drafts is not None and not any(session.reading for session in owners):
            self.drafts.note(work.tokens, self.backend.seconds() - start)
        self.metrics.count("passes", self.backend.ran - self._ran)
        self._ran = self.backend.ran
        self.metrics.count("computed_tokens", work.tokens)
        row, drawn = 0, 0
        for slot, session in zip(slots, owners, strict=True):
            mine = logits[row : row + slot.wanted]
            row += slot.wanted
            with self._guarded(session):
                drawn += self._took(session, slot.committed, mine)
        if drawn:
            self.metrics.generated(drawn)
        self.sessions = [session for session in self.sessions if session.slot is not None]
        self._take_totals()

    @contextmanager
    def _guarded(self, session: Session) -> Iterator[None]:
        """Let an error of one sequence end its request only; a device that fails ends all."""
        try:
            yield
        except DeviceError:
            raise
        except Exception:
            log.exception("a request failed")
            self.fail(session.job, ApiError(
                500, "this request could not be computed; the log of the server says why",
                code="failed",
            ))  # fmt: skip

    def _took(self, session: Session, tokens: int, logits: NDArray[np.int32]) -> int:
        """Note that a pass took tokens of a sequence, and draw; returns how many were drawn."""
        if session.slot is None:
            return 0  # another choice of its request has failed
        before, session.done = session.done, session.done + tokens
        if session.scores is not None and before < len(session.prompt):
            logits = _scored(session, before, logits)
        if session.reading:
            self._keep(session)
        if not len(logits):
            return 0
        if session.draws:
            return self._check(session, logits)
        self._out.put(session.job, Event(session.choice, Step(NO_TOKEN, "", "length")))
        self._end(session)
        return 0

    def _begin(self, session: Session, slot: int) -> None:
        """Set up a slot, after as much of the prompt as is known already."""
        prompt = session.prompt
        if session.leader is not None:
            self.backend.restore(slot, session.leader.prefix, session.room)
            self._admission.followed(session.leader)
            session.done = len(prompt) - 1
            return
        self.metrics.count("prompt_tokens", len(prompt))
        if self.cache.on and len(prompt) > WORTH and session.scores is None:
            if (found := self.cache.longest(prompt[:-1])) is not None:
                session.done, saved = found
                session.cached = session.done
                self.backend.restore(slot, saved, session.room)
                if session.leads and session.done == len(prompt) - 1:
                    session.prefix = saved
                self.metrics.count("prefix_hits")
                self.metrics.count("prefix_tokens", session.done)
                return
            self.metrics.count("prefix_misses")
        self.backend.begin(slot, session.room)
        session.done = 0

    def _filled(self) -> tuple[list[Slot], list[Session]]:
        """Slots of one pass and whose they are."""
        slots, owners, whole = [], [], self.backend.pass_tokens
        having = [(s, s.slot) for s in self.sessions if s.slot is not None]
        writing = [(s, slot) for s, slot in having if not s.reading]
        reading = [(s, slot) for s, slot in having if s.reading]
        if self.drafts is not None:
            unread = sum(len(s.prompt) - s.done for s, _ in reading)
            room = -len(writing) % whole - min(unread, whole // 2)
            self.drafts.make([session for session, _ in writing], room)
        for session, slot in writing:
            ids = np.array([session.ids[-1], *session.draft], dtype=np.int64)
            slots.append(Slot(slot, ids, len(ids), replay=session.replay, commit=1))
            owners.append(session)
            session.replay = 0
        # Prompts go on, however many are generating: they fill the last pass, or have their own.
        room = whole - sum(len(slot.tokens) for slot in slots) % whole
        for (session, slot), count in zip(reading, self._shares(reading, room), strict=True):
            if count:
                end = session.done + count
                wanted = int(end == len(session.prompt)) if session.scores is None else count
                slots.append(Slot(slot, session.prompt[session.done : end], wanted))
                owners.append(session)
        return slots, owners

    def _shares(self, reading: Sequence[tuple[Session, int]], room: int) -> list[int]:
        """Tokens of each prompt that is read, in the next turn."""
        if not reading:
            return []
        self._turn += 1
        found = shared(
            [
                Unread(len(s.prompt) - s.done, self._stop_at(s) - s.done, self._turn - s.moved)
                for s, _ in reading
            ],
            room, self._turn,
        )  # fmt: skip
        for (session, _), count in zip(reading, found, strict=True):
            if count:
                session.moved = self._turn
        return found

    def _stop_at(self, session: Session) -> int:
        """Where the next span of a prompt ends at the latest: where its state will be kept.

        A scored prompt is read in short spans, whose logits are all computed.
        """
        last = len(session.prompt) - 1
        if session.scores is not None:
            end = last if session.leads and session.done < last else last + 1
            return min(end, session.done + SCORED)
        wanted = session.leads or (self.cache.on and last >= WORTH)
        if not wanted or session.done >= last:
            return last + 1
        return min(last, (session.done // BLOCK + 1) * BLOCK)

    def _keep(self, session: Session) -> None:
        """Keep the state after a part of a prompt, where others may begin there too."""
        prompt, done = session.prompt, session.done
        last = done == len(prompt) - 1
        cached = done >= WORTH and (last or done % BLOCK == 0) and self.cache.takes(done)
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
        """Draw from a session's rows of logits; returns how many tokens were drawn."""
        steps, right = session.text.check(logits, session.draft)
        session.replay = len(steps) - 1
        session.done += session.replay
        if session.draft and self.drafts is not None:
            self.drafts.checked(session, right)
            self.metrics.count("drafted_tokens", len(session.draft))
            self.metrics.count("accepted_tokens", right)
        for step in steps:
            self._give(session, step)
        session.draft = []
        return len(steps)

    def _give(self, session: Session, step: Step) -> None:
        """Send the next step of a session, and end it after its last."""
        job = session.job
        session.tokens.append(step.token_id)
        session.ids.append(step.token_id)
        if job.first is None:
            job.first = time.monotonic()
            self.metrics.observe("time_to_first_token_seconds", job.first - job.arrived)
        if step.text or step.finish_reason is not None or step.score is not None:
            self._out.put(job, Event(session.choice, step))
        if step.finish_reason is None:
            return
        ids = np.array(session.ids[:-1], dtype=np.int64)
        worth = session.keep and session.done >= WORTH and self.cache.takes(len(ids))
        if worth and session.slot is not None:
            self.cache.put(ids, self.backend.save(session.slot, session.draft[: session.replay]))
        self._end(session)

    def _end(self, session: Session) -> None:
        """Free the slot of a session that is finished."""
        self._admission.release(session)
        session.job.left -= 1
        if not session.job.left:
            self.metrics.observe("request_seconds", time.monotonic() - session.job.arrived)

    def _take_totals(self) -> None:
        """Read the backend's own counters; a device's take time, so not at every token."""
        now = time.monotonic()
        if not self.sessions or now > self._totals_at:
            self._totals_at = now + TOTALS_SECONDS
            self.metrics.totals("saturations", self.backend.saturations())
            self.metrics.totals("device_cycles", self.backend.cycles())


def _scored(session: Session, before: int, logits: NDArray[np.int32]) -> NDArray[np.int32]:
    """Score the prompt tokens that follow those of a pass; return the logits to draw from.

    Parameters
    ----------
    session
        Whose prompt it is.
    before
        Tokens of it that were read before this pass.
    logits : (n, vocab)
        Of the tokens that this pass read.
    """
    known = session.prompt[before + 1 : before + 1 + len(logits)].tolist()
    if session.scores is not None:
        session.scores += session.text.scores(logits[: len(known)], known)
    return logits[:0] if session.reading else logits[-1:]
