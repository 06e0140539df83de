"""Answers in OpenAI's form: one JSON object, or a stream of server-sent events."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from lightmamba.serve.errors import ApiError, JsonResponse, dumped
from lightmamba.serve.jobs import Event, Job
from lightmamba.serve.logprobs import ChatScores, CompletionScores, Words
from lightmamba.serve.opened import Served
from lightmamba.serve.prepare import Asked
from lightmamba.serve.scheduler import Scheduler

__all__ = ["Form", "answer", "stream"]

REASONS = {"length": "length", "stop": "stop", "eos": "stop"}


class Form:
    """How a kind of answer is written, whole or in chunks.

    Parameters
    ----------
    served
        The model; answers give its name and its fingerprint.
    asked
        What is answered.
    chat
        A chat's messages, not a completion's texts.
    """

    def __init__(self, served: Served, asked: Asked, *, chat: bool) -> None:
        self.chat, self.asked = chat, asked
        words = Words(served.tokenizer)
        self._scores = [
            ChatScores(words) if chat else CompletionScores(words, text, starts)
            for text, starts in zip(asked.prefixes, asked.starts, strict=True)
        ]
        self._begun: set[int] = set()  # choices whose prompt's scores were given
        self._head = {
            "id": ("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex,
            "object": "", "created": int(time.time()), "model": served.name,
            "system_fingerprint": f"lm-{served.fingerprint[:12]}", "seed": asked.seed,
        }  # fmt: skip

    def body(
        self, choices: Sequence[dict[str, Any]], *, chunk: bool = False, **more: Any
    ) -> dict[str, Any]:
        """The one object of an answer that is not streamed, or a chunk of one that is."""
        chat = "chat.completion.chunk" if chunk else "chat.completion"
        kind = chat if self.chat else "text_completion"
        return self._head | {"object": kind, "choices": choices, **more}

    def choice(
        self, index: int, events: Sequence[Event], before: str = "", *,
        chunk: bool = False, first: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Further steps of a choice, after a text that comes before them.

        ``chunk`` says that the answer is streamed, ``first`` that nothing of this choice was sent.
        """
        text = before + "".join(event.step.text for event in events)
        content: dict[str, Any] = {"text": text}
        if self.chat:
            role = {"role": "assistant"} if first else {}
            said = {"content": text} if text or first else {}
            content = {"delta" if chunk else "message": role | said}
        reason = events[-1].step.finish_reason if events else None
        return {
            "index": index, **content, "logprobs": self._logprobs(index, events),
            "finish_reason": REASONS[reason] if reason else None,
        }  # fmt: skip

    def _logprobs(self, index: int, events: Sequence[Event]) -> dict[str, Any] | None:
        """Log-probabilities of further tokens of a choice, and before the first of its prompt's."""
        if not self.asked.scored or not events:
            return None
        found = [event.step.score for event in events if event.step.score is not None]
        if index not in self._begun:
            self._begun.add(index)
            found = [*(self.asked.job.sessions[index].prompt_scores or ()), *found]
        return self._scores[index].written(found)

    def whole(self, events: Sequence[Event]) -> dict[str, Any]:
        """The one object of an answer that is not streamed, from all its events."""
        mine = _by_choice(events)
        choices = [
            self.choice(index, mine[index], prefix, first=True)
            for index, prefix in enumerate(self.asked.prefixes)
        ]
        return self.body(choices, usage=self.usage())

    def usage(self) -> dict[str, Any]:
        """Counts of tokens."""
        job = self.asked.job
        prompt, answered = job.prompt_tokens, job.generated_tokens
        return {
            "prompt_tokens": prompt, "completion_tokens": answered,
            "total_tokens": prompt + answered,
            "prompt_tokens_details": {"cached_tokens": job.cached_tokens},
        }  # fmt: skip


async def answer(request: Request, scheduler: Scheduler, form: Form) -> Response:
    """Wait for all of an answer; a client that goes away ends the work."""
    job, found = form.asked.job, list[Event]()

    async def collect() -> None:
        async for events in job.batches():
            found.extend(events)

    scheduler.submit(job)
    collected, gone = asyncio.create_task(collect()), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((collected, gone), return_when=asyncio.FIRST_COMPLETED)
        if not collected.done():
            return Response(status_code=499)  # nobody reads it
        collected.result()
    finally:
        scheduler.cancel(job)
        for task in (collected, gone):
            task.cancel()
        await asyncio.gather(collected, gone, return_exceptions=True)
    if form.asked.scored:  # of a long prompt that takes a while
        return JsonResponse(await asyncio.to_thread(form.whole, found))
    return JsonResponse(form.whole(found))


async def _gone(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def stream(scheduler: Scheduler, form: Form, *, usage: bool) -> Response:
    """Send an answer as it comes."""
    scheduler.submit(form.asked.job)
    return _Stream(
        _events(form, usage=usage), scheduler, form.asked.job, media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )  # fmt: skip


class _Stream(StreamingResponse):
    """A stream whose job ends with it, even where the client left before its first event."""

    def __init__(
        self, events: AsyncIterator[str], scheduler: Scheduler, job: Job, **options: Any
    ) -> None:
        super().__init__(events, **options)
        self._scheduler, self._job = scheduler, job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._scheduler.cancel(self._job)


async def _events(form: Form, *, usage: bool) -> AsyncIterator[str]:
    more = {"usage": None} if usage else {}

    def chunks(choices: Iterable[dict[str, Any]]) -> str:
        return "".join(_event(form.body([each], chunk=True, **more)) for each in choices)

    try:
        first = chunks(
            form.choice(index, (), prefix, chunk=True, first=True)
            for index, prefix in enumerate(form.asked.prefixes)
            if form.chat or prefix
        )
        if first:
            yield first
        async with aclosing(form.asked.job.batches()) as batches:
            async for events in batches:
                yield chunks(
                    form.choice(index, mine, chunk=True)
                    for index, mine in _by_choice(events).items()
                )
        if usage:
            yield _event(form.body([], chunk=True, usage=form.usage()))
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.body())


def _event(data: dict[str, Any]) -> str:
    return f"data: {dumped(data)}\n\n"


def _by_choice(events: Sequence[Event]) -> dict[int, list[Event]]:
    """Events of each choice: steps that came together are sent together."""
    found: dict[int, list[Event]] = {}
    for event in events:
        found.setdefault(event.choice, []).append(event)
    return found
