"""From a checked request to a job: text to ids, defaults, seeds, sessions."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import shown
from lightmamba.serve.errors import ApiError
from lightmamba.serve.jobs import Job, Session
from lightmamba.serve.opened import Served
from lightmamba.serve.schema import ChatRequest, CompletionRequest, Message, Request
from lightmamba.serve.settings import Settings
from lightmamba.text.continuation import Continuation
from lightmamba.text.defaults import OPTIONS, sampling_options

__all__ = ["Asked", "chat", "check_model", "completion", "rendered", "starts", "tokenized"]

COMPLETION_TOKENS = 16  # where a completion does not say how many, as at OpenAI
MOST_SCORES = 1 << 20  # log-probabilities in an answer
LONG = 8192  # characters, or ids: tokenizing more is left to another thread
TOKENIZING = ThreadPoolExecutor(2, "tokenizer")  # their own: templates do not wait for long texts

Ids = NDArray[np.int64]
Found = TypeVar("Found")


class Prompt(NamedTuple):
    """A prompt's ids, what an answer has of its text, and the first characters of its tokens."""

    ids: Ids
    text: str = ""
    starts: Sequence[int] = ()


@dataclass(frozen=True)
class Asked:
    """A request as a job.

    Parameters
    ----------
    job
        To be submitted.
    seed
        The client's, or the one that was drawn.
    prefixes
        Text that each choice begins with: the prompt, where ``echo`` asks for it.
    starts
        First characters in it of the tokens of a prompt that was given as text.
    scored
        Whether log-probabilities are asked for.
    """

    job: Job
    seed: int
    prefixes: tuple[str, ...]
    starts: tuple[Sequence[int], ...]
    scored: bool = False


async def completion(request: CompletionRequest, served: Served, settings: Settings) -> Asked:
    """A completion's job.

    Raises
    ------
    ApiError, InputError
        If the request asks for what is not there or not allowed.
    """
    check_model(request.model, served)
    prompt = request.prompt
    one = isinstance(prompt, str) or isinstance(prompt[0], int)
    given = cast("Sequence[str | list[int]]", [prompt] if one else prompt)

    def encoded() -> list[Prompt]:
        return [_prompt(each, served, echo=bool(request.echo)) for each in given]

    long = sum(len(each) for each in given if isinstance(each, str))
    prompts = await tokenized(long, encoded)
    tokens = request.max_tokens
    if tokens is None:
        tokens = min(COMPLETION_TOKENS, settings.max_tokens)
    if not tokens and not request.echo:
        raise ApiError(
            400, "max_tokens 0 generates nothing; give echo: true to score the prompt, or ask for "
            "at least one token", param="max_tokens",
        )  # fmt: skip
    return _asked(
        request, served, settings, prompts, tokens, top=request.logprobs,
        score_prompt=bool(request.echo) and request.logprobs is not None,
    )  # fmt: skip


async def tokenized(size: int, work: Callable[[], Found]) -> Found:
    """Do the work of a tokenizer: in another thread if there is much of it.

    Parameters
    ----------
    size
        Characters, or ids.
    work
        The work.
    """
    if size <= LONG:
        return work()
    return await asyncio.get_running_loop().run_in_executor(TOKENIZING, work)


def _prompt(given: str | Sequence[int], served: Served, *, echo: bool) -> Prompt:
    if not isinstance(given, str):
        ids = np.array(given, dtype=np.int64)
        return Prompt(ids, served.tokenizer.decode(ids)) if echo else Prompt(ids)
    encoding = served.tokenizer.encoding(given)
    ids = np.array(encoding.ids, dtype=np.int64)
    return Prompt(ids, given, starts(encoding.offsets)) if echo else Prompt(ids)


def starts(offsets: Sequence[tuple[int, int]]) -> list[int]:
    """First characters of tokens, from what the tokenizer says of each: its first and its end.

    Spaces that the tokenizer leaves out of its offsets belong to the token after them, and a token
    that it adds begins where the one before ends.
    """
    found, last = [], 0
    for start, end in offsets:
        found.append(last if start == end else min(start, last))
        last = max(last, end)
    return found


async def chat(request: ChatRequest, served: Served, settings: Settings) -> Asked:
    """A chat's job; as :func:`completion`."""
    check_model(request.model, served)
    if None not in (request.max_tokens, request.max_completion_tokens):
        raise ApiError(
            400, "max_tokens and max_completion_tokens mean the same; give one of them",
            param="max_tokens",
        )  # fmt: skip
    if request.top_logprobs is not None and not request.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    top = (request.top_logprobs or 0) if request.logprobs else None
    text = await rendered(request.messages, served)
    ids = await tokenized(
        len(text), lambda: served.tokenizer.encode(text, add_special_tokens=False)
    )
    tokens = request.max_completion_tokens or request.max_tokens or settings.max_tokens
    return _asked(request, served, settings, [Prompt(ids)], tokens, keep=True, top=top)


async def rendered(messages: Sequence[Message], served: Served) -> str:
    """The text of a chat, by the checkpoint's template.

    Raises
    ------
    ApiError, InputError
        If there is no template, or it refuses the messages.
    """
    if served.model.quantized.chat_template is None:
        raise ApiError(
            400, f"{served.name} has no chat template, so it is not a chat model; "
            f"use /v1/completions with a prompt", param="messages", code="no_chat_template",
        )  # fmt: skip
    plain = [message.plain for message in messages]
    # The template is a stranger's code, which may take a second.
    return await asyncio.to_thread(served.model.chat_text, plain)


def check_model(name: str | None, served: Served) -> None:
    """Refuse the name of another model than the one that is served."""
    if name not in (None, served.name):
        raise ApiError(
            404, f"there is no model {shown(name)} here; the one that is served is "
            f"{served.name!r}", code="model_not_found", param="model",
        )  # fmt: skip


def _asked(
    request: Request,
    served: Served,
    settings: Settings,
    prompts: Sequence[Prompt],
    tokens: int,
    *,
    top: int | None,
    keep: bool = False,
    score_prompt: bool = False,
) -> Asked:
    """Check the limits, and make the sessions."""
    count = request.n or 1
    if len(prompts) * count > settings.max_choices:
        raise ApiError(
            400, f"the request asks for {len(prompts) * count} choices, and this server gives at "
            f"most {settings.max_choices} at a time; ask for fewer", param="n",
        )  # fmt: skip
    if tokens > settings.max_tokens:
        raise ApiError(
            400, f"the request asks for {tokens} tokens, and this server generates at most "
            f"{settings.max_tokens}; try max_tokens {settings.max_tokens}", param="max_tokens",
        )  # fmt: skip
    sizes = [len(prompt.ids) for prompt in prompts]
    longest = max(sizes)
    if longest > settings.max_prompt:
        raise ApiError(
            400, f"the prompt has {longest} tokens, and this server takes at most "
            f"{settings.max_prompt}; shorten it", code="context_length_exceeded", param="prompt",
        )  # fmt: skip
    if top is not None:
        read = sum(sizes) if score_prompt else 0
        many = count * (read + len(prompts) * tokens) * (top + 1)
        if many > MOST_SCORES:
            raise ApiError(
                400, f"the request asks for up to {many:,} log-probabilities, and this server "
                f"gives at most {MOST_SCORES:,}; ask for fewer tokens, choices or logprobs",
                param="logprobs",
            )  # fmt: skip
    seed = secrets.randbits(32) if request.seed is None else request.seed
    given = {name: getattr(request, name) for name in OPTIONS}
    sampling, _ = sampling_options(served.model.quantized.generation_config, seed=seed, **given)
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    sessions: list[Session] = []
    for number, prompt in enumerate(prompts):
        leader = None
        for choice in range(count):
            text = Continuation(
                served.backend, prompt.ids, max_tokens=max(1, tokens), sampling=sampling,
                stop_ids=served.model.stop_ids, stop_strings=stop, tokenizer=served.tokenizer,
                stream=choice, top=top,
            )  # fmt: skip
            session = Session(
                number * count + choice, text, leader=leader, keep=keep, score_prompt=score_prompt,
                draws=tokens > 0,
            )  # fmt: skip
            leader = leader or session
            sessions.append(session)
    job = Job(sessions, settings.request_seconds, per_prompt=count)
    each = [prompt for prompt in prompts for _ in range(count)]
    texts, starts = tuple(prompt.text for prompt in each), tuple(prompt.starts for prompt in each)
    return Asked(job, seed, texts, starts, scored=top is not None)
