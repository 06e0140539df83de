"""A scheduler without its thread, on a backend that only writes down what it is asked to do."""

import asyncio
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.passes import Pass
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.serve.backend import Backend
from lightmamba.serve.drafts import Drafts
from lightmamba.serve.errors import ApiError
from lightmamba.serve.jobs import Event, Job, Session
from lightmamba.serve.metrics import Metrics
from lightmamba.serve.prefix import PrefixCache
from lightmamba.serve.scheduler import Scheduler
from lightmamba.text import Continuation

__all__ = ["VOCAB", "Bench", "Counting", "Wrong", "driven", "errors"]

VOCAB = 10
SEGMENT = 8  # tokens
P = ParamSpec("P")


class Counting(Backend):
    """The token after n is n + 1; a slot's state is the tokens that it was fed."""

    device = "counting"
    valid_vocab = VOCAB
    logit_exponent = undecided = 0

    def __init__(
        self, slots: int, pass_tokens: int, spare: int, token_bytes: int, segments: int = 0
    ) -> None:
        self.spare, self.token_bytes, self.segments = spare, token_bytes, segments
        self.rooms: dict[int, int] = {}  # of slots that are used, in tokens
        self.slots, self.pass_tokens = slots, pass_tokens
        self.state: list[list[int]] = [[] for _ in range(slots)]
        self.passes: list[list[tuple[int, int]]] = []  # tokens and logits of each slot
        self.recovered = 0

    @property
    def ran(self) -> int:
        return len(self.passes)

    def seconds(self) -> float:
        return 0.0

    def begin(self, slot: int, room: int) -> None:
        self.state[slot], self.rooms[slot] = [], room

    def run(self, work: Pass) -> NDArray[np.int32]:
        self.passes.append([(len(slot.tokens), slot.wanted) for slot in work.slots])
        rows = []
        for slot in work.slots:
            self.state[slot.sequence] += slot.tokens.tolist()
            if slot.wanted:
                last = slot.tokens[len(slot.tokens) - slot.wanted :]
                rows.append(np.eye(VOCAB, dtype=np.int32)[(last + 1) % VOCAB])
        return np.concatenate([np.empty((0, VOCAB), np.int32), *rows])

    def save(self, slot: int, accepted=()) -> Any:
        return tuple(self.state[slot])

    def restore(self, slot: int, saved: Any, room: int) -> None:
        self.state[slot], self.rooms[slot] = list(saved), room

    def end(self, slot: int) -> None:
        self.rooms.pop(slot, None)

    def needs(self, tokens: int) -> int:
        return tokens * self.token_bytes

    def takes(self, tokens: int) -> int:
        return -(-tokens // SEGMENT) if self.segments else 0

    def saved_bytes(self, tokens: int) -> int:
        return 1 + tokens * self.token_bytes

    def saturations(self) -> dict[str, int]:
        return {"residual": 3}

    def recover(self) -> None:
        self.recovered += 1


class Bench:
    """A scheduler without its thread, driven pass by pass."""

    def __init__(
        self, slots: int = 4, pass_tokens: int = 8, cache: int = 0, queue: int = 99,
        drafts: Drafts | None = None, spare: int = 1 << 30, token_bytes: int = 0,
        segments: int = 0,
    ):  # fmt: skip
        self.backend = Counting(slots, pass_tokens, spare, token_bytes, segments)
        self.jobs: list[Job] = []
        self.sent: dict[Job, list[Event | ApiError]] = {}
        self.metrics = Metrics("m", "counting")
        self.scheduler = Scheduler(
            self.backend,
            PrefixCache(cache, lambda tokens: 1),
            self.metrics,
            queue=queue,
            drafts=drafts,
        )
        self.scheduler._thread.is_alive = lambda: True  # type: ignore[method-assign]
        out: Any = self.scheduler._out
        put = out.put

        def noted(job: Job, item: Event | ApiError) -> None:
            self.sent.setdefault(job, []).append(item)
            put(job, item)

        out.put = noted

    def ask(self, prompt: Sequence[int], tokens: int = 3, n: int = 1, seconds: float = 9) -> Job:
        sessions: list[Session] = []
        for choice in range(n):
            text = Continuation(
                self.backend, prompt, max_tokens=tokens, sampling=SamplingOptions(temperature=0)
            )
            sessions.append(Session(choice, text, leader=sessions[0] if choice else None))
        job = Job(sessions, seconds, per_prompt=n)
        self.scheduler.submit(job)
        self.jobs.append(job)
        return job

    def run(self, passes: int = 99) -> None:
        """Some passes, or until nothing is left."""
        for _ in range(passes):
            if not (self.scheduler.waiting or self.scheduler.running):
                return
            self.scheduler.round()


class Wrong(Drafts):
    """Drafts of the first sequence, as long as there is room for, and never right."""

    def make(self, sessions, room):
        for one in sessions:
            one.draft, room = [0] * max(0, room), 0


def errors(bench: Bench, job: Job) -> list[ApiError]:
    """Errors that a job was sent in place of an answer."""
    return [item for item in bench.sent.get(job, []) if isinstance(item, ApiError)]


def driven(test: Callable[P, None]) -> Callable[P, None]:
    """Run a test on an event loop, which jobs belong to."""

    @wraps(test)
    def run(*args: P.args, **options: P.kwargs) -> None:
        async def inside() -> None:
            test(*args, **options)

        asyncio.run(inside())

    return run
