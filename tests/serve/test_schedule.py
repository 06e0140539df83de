"""The scheduler as a state machine of hypothesis: requests of any size, on a simulated clock."""

import asyncio
import math
from collections import Counter
from contextlib import ExitStack
from types import SimpleNamespace
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lightmamba.common.errors import DeviceError
from lightmamba.serve.errors import BUSY, ApiError
from lightmamba.serve.jobs import Job, Session
from lightmamba.text import NgramDrafter
from tests.serve.counting import VOCAB, Bench, Wrong, errors

CLOCKED = ("admission", "batch", "jobs", "scheduler")  # modules with a clock
QUEUE, SECONDS = 15, 60.0
SPARE, TOKEN_BYTES, SEGMENTS = 3 << 20, 1 << 14, 25  # of memory, where there is little
# Tokens of its prompt, tokens to generate, choices.
REQUEST = st.tuples(
    st.sampled_from([1, 3, 17, 120, 150, 190]), st.integers(1, 12), st.integers(1, 3)
)


class Schedule(RuleBasedStateMachine):
    """Requests that come, are given up, take too long and fail; every one ends, and soon."""

    seen: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop, self.now, self.patches = asyncio.new_event_loop(), 0.0, ExitStack()
        clock = SimpleNamespace(monotonic=lambda: self.now)
        for module in CLOCKED:
            self.patches.enter_context(patch(f"lightmamba.serve.{module}.time", clock))
        self.ends: dict[Job, str] = {}  # why a job may end without an answer
        self.still = Counter[Session]()  # passes since something of a prompt was read
        self.shortest = Counter[Session]()  # passes in which the rest of a prompt was the shortest

    @initialize(
        slots=st.integers(1, 4), tokens=st.sampled_from([1, 2, 3, 16]),
        cache=st.sampled_from([0, 999]), drafts=st.booleans(),
        little=st.sampled_from(["", "bytes", "segments"]),
    )  # fmt: skip
    def begin(self, slots: int, tokens: int, cache: int, drafts: bool, little: str) -> None:
        """A server of some size."""
        self.bench = Bench(
            slots=slots, pass_tokens=tokens, cache=cache, queue=QUEUE,
            drafts=Wrong(NgramDrafter) if drafts else None,
            **{"bytes": {"spare": SPARE, "token_bytes": TOKEN_BYTES},
               "segments": {"segments": SEGMENTS}}.get(little, {}),
        )  # fmt: skip

    @rule(asked=st.lists(REQUEST, min_size=1, max_size=4))
    def ask(self, asked: list[tuple[int, int, int]]) -> None:
        """Requests, some too many, and some for which there will never be memory."""

        async def inside() -> None:
            for prompt, tokens, n in asked:
                try:
                    self.bench.ask([k % VOCAB for k in range(prompt)], tokens, n, SECONDS)
                except ApiError as error:
                    self.seen[f"refused with {error.status}"] += 1
                    # Choices share a prompt, whose state is kept for the others as long.
                    large = prompt + tokens > min(SPARE // TOKEN_BYTES, SEGMENTS * 8) / 2
                    busy = self.bench.scheduler.waiting >= QUEUE
                    if not (busy if error.status == BUSY else large and error.status == 400):
                        raise

        self.loop.run_until_complete(inside())

    @rule(passes=st.integers(1, 40))
    def run(self, passes: int) -> None:
        """Some passes: what generates gets a token in each, and prompts are read on before long."""
        batch = self.bench.scheduler.batch
        for _ in range(passes):
            before = {s: (s.reading, s.done, len(s.tokens)) for s in batch.sessions}
            rests = sorted(len(s.prompt) - s.done for s in before if s.reading)
            self.bench.run(1)
            for session, (reading, done, tokens) in before.items():
                if session not in batch.sessions:
                    self.still.pop(session, None)
                elif not reading:
                    assert len(session.tokens) > tokens
                else:
                    self._read(session, done, rests)

    def _read(self, session: Session, done: int, rests: list[int]) -> None:
        """Count passes in which nothing of a prompt was read, and those of the shortest rest."""
        self.still[session] = 0 if session.done > done else self.still[session] + 1
        assert self.still[session] <= 4 * self.bench.backend.slots
        rest = len(session.prompt) - done
        if rests[:2] == [rest] or rest == rests[0] < rests[1]:
            self.shortest[session] += 1
            assert self.shortest[session] <= 4 * math.ceil(len(session.prompt) / 3)

    @rule(which=st.integers(0, 1 << 16))
    @precondition(lambda self: self.bench.jobs)
    def cancel(self, which: int) -> None:
        """A client is gone."""
        job = self.bench.jobs[which % len(self.bench.jobs)]
        self.bench.scheduler.cancel(job)
        self.ends.setdefault(job, "cancelled")

    @rule(seconds=st.floats(0, SECONDS / 2))
    def wait(self, seconds: float) -> None:
        """Time passes; some have waited too long."""
        self.now += seconds
        for job in self.bench.jobs:
            if self.now > job.deadline and job.left:
                self.ends.setdefault(job, "timeout")

    @rule()
    @precondition(lambda self: self.bench.scheduler.running)
    def fail(self) -> None:
        """A pass fails: what runs ends with an error, and what waits goes on."""
        for session in self.bench.scheduler.batch.sessions:
            self.ends.setdefault(session.job, "failed")
        gone = patch.object(self.bench.backend, "run", side_effect=DeviceError("gone"))
        waiting = [s.job for s in self.bench.scheduler.admission.waiting]
        with gone:
            self.bench.run(1)
        for job in waiting:
            if job.left == 0:
                self.ends.setdefault(job, "failed")
        self.seen["failed"] += 1

    @invariant()
    def accounts(self) -> None:
        """Memory and slots are those of the sessions that have them."""
        scheduler, backend = self.bench.scheduler, self.bench.backend
        admission, mine = scheduler.admission, scheduler.batch.sessions
        assert admission.used <= admission.limit
        assert admission.used == sum(s.need for s in mine) + sum(admission._copies.values())
        assert admission.segments == backend.segments - sum(s.segments for s in mine)
        slots = [s.slot for s in mine if s.slot is not None]
        assert sorted([*slots, *admission.free]) == list(range(backend.slots))

    def teardown(self) -> None:
        """Every request ends: with its text, or with the error that it has a reason for."""
        if hasattr(self, "bench"):
            self.run(3000)
            assert not self.bench.scheduler.running
            assert not self.bench.scheduler.waiting
            self.accounts()
            assert self.bench.scheduler.admission.used == 0
            for job in self.bench.jobs:
                self._ended(job)
        self.patches.close()
        self.loop.close()

    def _ended(self, job: Job) -> None:
        assert job.left == 0
        found = errors(self.bench, job)
        if self.ends.get(job) is None:
            assert not found
            for session in job.sessions:
                first = int(session.prompt[-1]) + 1
                wanted = [(first + k) % VOCAB for k in range(session.room - len(session.prompt))]
                assert session.tokens == wanted
            self.seen["answered"] += 1
        elif found:
            assert {error.status for error in found} <= {408, 503}
            self.seen[self.ends[job]] += 1


def test_every_request_ends_and_nobody_starves():
    seen = Counter[str]()
    run_state_machine_as_test(
        type("Machine", (Schedule,), {"seen": seen}),
        settings=settings(max_examples=80, stateful_step_count=30),
    )
    assert min(seen[f"refused with {status}"] for status in (400, BUSY)) > 0
    assert seen["answered"] > 100
    assert min(seen["failed"], seen["timeout"]) > 5
