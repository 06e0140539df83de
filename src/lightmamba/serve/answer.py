"""Answers in OpenAI's form: one JSON object, or a stream of server-sent events."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from lightmamba.model.tokenizer import Tokenizer
from lightmamba.serve.errors import ApiError, JsonResponse
from lightmamba.serve.jobs import Event, Job
from lightmamba.serve.logprobs import ChatScores, CompletionScores, Words
from lightmamba.serve.prepare import Asked
from lightmamba.serve.scheduler import Scheduler

__all__ = ["Form", "answer", "stream"]

REASONS = {"length": "length", "stop": "stop", "eos": "stop", None: None}


class Form:
    """How a kind of answer is written.

    Parameters
    ----------
    chat
        A chat's messages, not a completion's texts.
    model
        Its name.
    fingerprint
        Of the model.
    asked
        What is answered.
    tokenizer
        Of the model.
    """

    def __init__(
        self, model: str, fingerprint: str, asked: Asked, tokenizer: Tokenizer, *, chat: bool
    ) -> None:
        self.chat, self.asked = chat, asked
        kinds, words = (ChatScores if chat else CompletionScores), Words(tokenizer)
        self._scores = [kinds(words) for _ in asked.prefixes]
        self._begun: set[int] = set()  # choices whose prompt's scores were given
        self._head = {
            "id": ("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex,
            "object": "", "created": int(time.time()), "model": model,
            "system_fingerprint": f"lm-{fingerprint[:12]}", "seed": asked.seed,
        }  # fmt: skip
        kind = "chat.completion.chunk" if chat else "text_completion"
        self._chunk = json.dumps(self._head | {"object": kind}, separators=(",", ":"))[:-1]

    def scores(self, index: int, events: Sequence[Event]) -> dict[str, Any] | None:
        """Log-probabilities of further tokens of a choice, and before the first of its prompt's."""
        if not self.asked.scored:
            return None
        found = [event.step.score for event in events if event.step.score is not None]
        if index not in self._begun:
            self._begun.add(index)
            found = [*(self.asked.job.sessions[index].prompt_scores or ()), *found]
        return self._scores[index].written(found)

    def whole(self, events: list[list[Event]]) -> dict[str, Any]:
        """The one object of an answer that is not streamed, from the events of each choice."""
        choices: list[dict[str, Any]] = []
        for index, mine in enumerate(events):
            text = self.asked.prefixes[index] + "".join(event.step.text for event in mine)
            content: dict[str, Any] = {"text": text}
            if self.chat:
                content = {"message": {"role": "assistant", "content": text}}
            reason = REASONS[mine[-1].step.finish_reason]
            choices.append({"index": index, **content, "logprobs": self.scores(index, mine),
                            "finish_reason": reason})  # fmt: skip
        kind = "chat.completion" if self.chat else "text_completion"
        return self._head | {"object": kind, "choices": choices, "usage": self.usage()}

    def usage(self) -> dict[str, Any]:
        """Counts of tokens."""
        job = self.asked.job
        prompt, answered = job.prompt_tokens, job.generated_tokens
        return {
            "prompt_tokens": prompt, "completion_tokens": answered,
            "total_tokens": prompt + answered,
            "prompt_tokens_details": {"cached_tokens": job.cached_tokens},
        }  # fmt: skip

    def chunk(self, choices: str, *, usage: str | None) -> str:
        """One event of a stream; ``choices`` and ``usage`` are JSON."""
        end = "" if usage is None else f',"usage":{usage}'
        return f'data: {self._chunk},"choices":[{choices}]{end}}}\n\n'

    def piece(
        self, index: int, text: str, reason: str | None = None, scores: Any = None, *,
        first: bool = False,
    ) -> str:  # fmt: skip
        """A choice within a chunk, as JSON."""
        said, why, scored = json.dumps(text), json.dumps(reason), json.dumps(scores)
        if self.chat:
            role = '"role":"assistant",' if first else ""
            body = f'"delta":{{{role}"content":{said}}}' if text or first else '"delta":{}'
        else:
            body = f'"text":{said}'
        return f'{{"index":{index},{body},"logprobs":{scored},"finish_reason":{why}}}'

    def joined(self, index: int, events: Sequence[Event]) -> str:
        """Further steps of a choice within a chunk, as JSON."""
        text = "".join(event.step.text for event in events)
        reason = REASONS[events[-1].step.finish_reason]
        return self.piece(index, text, reason, self.scores(index, events))


async def answer(request: Request, scheduler: Scheduler, form: Form) -> Response:
    """Wait for all of an answer; a client that goes away ends the work."""
    job = form.asked.job
    found: list[list[Event]] = [[] for _ in form.asked.prefixes]

    async def collect() -> None:
        async for events in job.batches():
            for event in events:
                found[event.choice].append(event)

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
    job = form.asked.job
    null = "null" if usage else None
    try:
        first = [
            form.chunk(form.piece(index, text, first=True), usage=null)
            for index, text in enumerate(form.asked.prefixes) if form.chat or text
        ]  # fmt: skip
        if first:
            yield "".join(first)
        async with aclosing(job.batches()) as batches:
            async for events in batches:
                yield "".join(
                    form.chunk(form.joined(index, mine), usage=null)
                    for index, mine in _by_choice(events).items()
                )
        if usage:
            yield form.chunk("", usage=json.dumps(form.usage(), separators=(",", ":")))
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield f"data: {json.dumps(error.body())}\n\n"


def _by_choice(events: list[Event]) -> dict[int, list[Event]]:
    """Events of each choice: steps that came together are sent together."""
    found: dict[int, list[Event]] = {}
    for event in events:
        found.setdefault(event.choice, []).append(event)
    return found
