"""A request while it is computed: its sequences, and the way of their tokens to the client.

A job is made and read on the event loop; the scheduler's thread computes its sequences and hands
steps over. What both change is changed on one side only, or is a flag.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightmamba.serve.errors import ApiError
from lightmamba.text.continuation import Continuation, Step
from lightmamba.text.drafting import PiecewiseDrafter
from lightmamba.text.scores import Score

__all__ = ["Event", "Job", "Outbox", "Session"]

log = logging.getLogger(__name__)


class Event(NamedTuple):
    """A step of one choice."""

    choice: int
    step: Step


class Session:
    """One sequence: a prompt and what follows it.

    Parameters
    ----------
    choice
        Number of the choice in its request.
    text
        Sampling, stops and text.
    leader
        A session of the same prompt, whose state after the prompt this one takes over.
    keep
        Keep the state after the answer too: a chat goes on from there.
    score_prompt
        Score the prompt's tokens too, which has to be read whole then.
    draws
        Generate tokens; otherwise the prompt is read, and that is all.
    """

    followers = 0  # sessions that will take over its state after the prompt
    need = copy = 0  # bytes of memory while it has a slot, and of `prefix`
    segments = 0  # of a device's memory, while it has a slot
    slot: int | None = None
    admitted = 0.0  # when it got its slot
    done = 0  # tokens whose effect the state has
    cached = 0  # prompt tokens whose state came from the prefix cache
    moved = 0  # turn of the prompts in which it last got a token
    prefix: Any = None  # state after all but the prompt's last token, for sessions that it leads
    drafter: PiecewiseDrafter | None = None
    speculates = True  # whether its tokens are drafted
    replay = 0  # drafted tokens of the last pass that were accepted
    right = 0.5  # recent share of drafted tokens that were accepted
    job: "Job"

    def __init__(
        self,
        choice: int,
        text: Continuation,
        *,
        leader: "Session | None" = None,
        keep: bool = False,
        score_prompt: bool = False,
        draws: bool = True,
    ) -> None:
        self.choice, self.text, self.keep, self.draws = choice, text, keep, draws
        self.leader = leader if len(text.prompt) > 1 else None
        if self.leader is not None:
            self.leader.followers += 1
        self.room = len(text.prompt) + text.left  # tokens that it may have, prompt included
        self.tokens: list[int] = []  # generated ones
        self.ids: list[int] = []  # prompt and generated tokens, once it has a slot
        self.draft: list[int] = []  # tokens of the running pass that are drafted
        # Of the prompt's tokens that are read, where they are wanted.
        self.scores = [Score(int(text.prompt[0]), None)] if score_prompt else None

    @property
    def prompt(self) -> NDArray[np.int64]:
        """Ids of the prompt."""
        return self.text.prompt

    @property
    def prompt_scores(self) -> list[Score] | None:
        """Scores of the prompt's tokens, which the session that leads it has found."""
        return self.scores if self.leader is None else self.leader.scores

    @property
    def leads(self) -> bool:
        """Whether others wait for its state after the prompt."""
        return self.followers > 0

    @property
    def reading(self) -> bool:
        """Whether some of the prompt is still to be computed."""
        return self.done < len(self.prompt)

    @property
    def ready(self) -> bool:
        """Whether it may have a slot: the session that leads it has read the prompt."""
        return self.leader is None or self.leader.prefix is not None


class Job:
    """All sequences of one request.

    Parameters
    ----------
    sessions
        In the order of their choices; a leader before those that it leads.
    seconds
        Time that the request has.
    per_prompt
        Choices of each prompt, which lie one after the other.
    """

    def __init__(self, sessions: Sequence[Session], seconds: float, *, per_prompt: int = 1) -> None:
        self.sessions, self.per_prompt = tuple(sessions), per_prompt
        self.arrived = time.monotonic()
        self.deadline = self.arrived + seconds
        self.left = len(self.sessions)  # sessions that are not finished; the scheduler's
        self.first: float | None = None  # when the first token came
        self.cancelled = False
        self.loop = asyncio.get_running_loop()
        self._inbox: list[Event | ApiError] = []
        self._filled = asyncio.Event()
        for session in self.sessions:
            session.job = self

    def deliver(self, items: Sequence[Event | ApiError]) -> None:
        """Put in what was computed; on the event loop."""
        self._inbox += items
        self._filled.set()

    async def batches(self) -> AsyncGenerator[list[Event], None]:
        """Steps since the last call, until every choice has its last step.

        Raises
        ------
        ApiError
            If the request failed.
        """
        left = len(self.sessions)
        while left:
            await self._filled.wait()
            self._filled.clear()
            items, self._inbox = self._inbox, []
            events = [item for item in items if isinstance(item, Event)]
            failed = [item for item in items if isinstance(item, ApiError)]
            left -= sum(event.step.finish_reason is not None for event in events)
            if events:
                yield events
            if failed and left:
                raise failed[0]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts, each once."""
        return sum(len(s.prompt) for s in self.sessions if s.choice % self.per_prompt == 0)

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt whose state was cached."""
        return sum(s.cached for s in self.sessions)

    @property
    def generated_tokens(self) -> int:
        """Tokens of all choices so far."""
        return sum(len(s.tokens) for s in self.sessions)


class Outbox:
    """Results of a pass for jobs, handed to the event loop at once."""

    def __init__(self) -> None:
        self._out: dict[Job, list[Event | ApiError]] = {}

    def put(self, job: Job, item: Event | ApiError) -> None:
        """Keep something for a job."""
        self._out.setdefault(job, []).append(item)

    def flush(self) -> None:
        """Hand over what was put in."""
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
