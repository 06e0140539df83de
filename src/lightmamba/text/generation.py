"""From a prompt to tokens and text, step by step, with or without drafts.

A pass over the weights may take the last token and a draft of those after it, and gives the logits
of every position. Tokens are drawn from them in order, as without a draft; as long as the drawn
token is the drafted one, the next position's logits are right as well. Draws depend on the seed and
on the position alone, so the text is the same with and without drafting, greedy or sampled.
"""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine.engine import PIECE
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text.continuation import Continuation, Decoder, FinishReason, Step
from lightmamba.text.drafting import Drafter, most_drafted
from lightmamba.text.pace import Pace

__all__ = ["Context", "Generation", "Speculation", "generate"]


@dataclass(frozen=True)
class Generation:
    """All steps together.

    Parameters
    ----------
    token_ids : tuple of int
        Every id that was drawn, those of the stop included.
    text : str
        Without the stop.
    finish_reason : "length", "context", "stop", "eos" or None
        None if the steps were abandoned.
    """

    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason | None

    @classmethod
    def from_steps(cls, steps: Iterable[Step]) -> "Generation":
        """Summarize the steps of one :func:`generate`, running it to its end if need be."""
        taken = tuple(steps)
        return cls(
            token_ids=tuple(step.token_id for step in taken),
            text="".join(step.text for step in taken),
            finish_reason=taken[-1].finish_reason if taken else None,
        )


@dataclass
class Speculation:
    """Counts of drafts and accepted tokens so far."""

    tokens: int = 0
    passes: int = 0
    drafted: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float:
        """Share of drafted tokens that were accepted; not a number if none was drafted."""
        return self.accepted / self.drafted if self.drafted else math.nan

    @property
    def tokens_per_pass(self) -> float:
        """Tokens that a pass gave."""
        return self.tokens / self.passes if self.passes else math.nan


class Context:
    """State of one sequence, and the tokens that it has read.

    Attributes
    ----------
    ids : list of int
        Tokens whose effect the state has.
    state : Any
        Of the decoder; None before the first token.
    progress : callable (done, total), optional
        Called with the tokens of a long prompt that were read.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.state: Any = None
        self.progress: Callable[[float, float], None] | None = None

    def begin(self, prompt: NDArray[np.int64], empty: Callable[[], Any]) -> list[int]:
        """Return the tokens of a prompt that are not read yet, its last one at least.

        Where the prompt does not begin with what was read, the state is a new one.

        Parameters
        ----------
        prompt
            Ids, (seqlen,) int64.
        empty
            Makes a state that has read nothing.
        """
        ids: list[int] = prompt.tolist()
        known = self.known(ids)
        if not known:
            self.ids, self.state = [], empty()
        return ids[known:]

    def known(self, ids: list[int]) -> int:
        """Return how many tokens at the beginning of a longer text the state has; 0 if others."""
        known = len(self.ids)
        begins = self.state is not None and known < len(ids) and ids[:known] == self.ids
        return known if begins else 0

    def read(self, decoder: Decoder, ids: Sequence[int]) -> NDArray[np.int32]:
        """Feed tokens, of which there is at least one; logits (1, vocab) of the last one."""
        for at in range(0, len(ids), PIECE):
            piece = ids[at : at + PIECE]
            state, self.state = self.state, None  # if it fails, nothing is known of the state
            logits, state = decoder.forward(np.array([piece], dtype=np.int64), state)
            self.ids += piece
            self.state = state
            if self.progress is not None and len(ids) > PIECE:
                self.progress(at + len(piece), len(ids))
        last: NDArray[np.int32] = logits[:, -1]
        return last


def generate(
    decoder: Decoder,
    prompt_ids: Sequence[int] | NDArray[np.int64],
    *,
    max_tokens: int,
    sampling: SamplingOptions,
    stop_ids: Collection[int] = (),
    stop_strings: Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
    drafter: Drafter | None = None,
    pace: Pace | None = None,
    report: Speculation | None = None,
    context: Context | None = None,
) -> Iterator[Step]:
    """Continue a prompt, one token per step, as each is drawn.

    The arguments are checked at once, the decoder runs as the steps are taken. The repetition
    penalty counts the prompt.

    Parameters
    ----------
    decoder : Decoder
        Computes the logits.
    prompt_ids : sequence of int, shape (seqlen,)
        What to continue, at least one id.
    max_tokens : int
        Tokens to generate at most; fewer if the decoder's memory has no room for them.
    sampling : SamplingOptions
        How to choose each token.
    stop_ids : collection of int
        Ids that end the text, such as the end-of-text token; their own text is left out.
    stop_strings : sequence of str
        Strings that end the text and are left out; they need a tokenizer.
    tokenizer : Tokenizer, optional
        Without one the steps have no text.
    drafter : Drafter, optional
        Drafts tokens, which the decoder checks several at a time; the steps are the same.
    pace : Pace, optional
        Number of tokens to draft; by default as many as pay. The decoder sets a limit too.
    report : Speculation, optional
        Counts of drafted and accepted tokens are added to it.
    context : Context, optional
        What an earlier text of the same decoder has read: where the prompt begins with it, only the
        rest is read. It is changed. Texts with and without a drafter need one each.

    Returns
    -------
    Iterator[Step]

    Raises
    ------
    InputError
        If the prompt is empty or longer than the decoder has memory for, an id is not the model's,
        ``max_tokens`` is below 1, a stop string is empty or lacks a tokenizer, the tokenizer is not
        the model's, or there is a drafter but the decoder takes one token at a time.
    """
    text = Continuation(
        decoder, prompt_ids, max_tokens=max_tokens, sampling=sampling, stop_ids=stop_ids,
        stop_strings=stop_strings, tokenizer=tokenizer, context_length=decoder.context_length,
    )  # fmt: skip
    if drafter is None:
        return _steps(decoder, text, context or Context())
    if not most_drafted(decoder):
        raise InputError(
            "a draft is verified several tokens at a time, but this device takes one in a "
            "pass; speculate on the engine"
        )
    pace, report = pace or Pace(most_drafted(decoder)), report or Speculation()
    return _drafted(decoder, text, context or Context(), drafter, pace, report)


def _steps(decoder: Decoder, text: Continuation, context: Context) -> Iterator[Step]:
    ids = context.begin(text.prompt, lambda: decoder.empty_state(1))
    while True:
        step = text.take(context.read(decoder, ids))
        yield step
        if step.finish_reason is not None:
            return
        ids = [step.token_id]


def _drafted(
    decoder: Decoder,
    text: Continuation,
    context: Context,
    drafter: Drafter,
    pace: Pace,
    report: Speculation,
) -> Iterator[Step]:
    limit, ids = min(most_drafted(decoder), pace.most), text.prompt.tolist()
    unread = context.begin(text.prompt, lambda: decoder.empty_state(1, undecided=limit))
    steps, replay = [text.take(context.read(decoder, unread))], 0
    while True:
        yield from steps
        if steps[-1].finish_reason is not None:
            return
        ids += [step.token_id for step in steps]
        begin = time.perf_counter()
        most = min(pace.length(), limit, text.left - 1)
        draft = list(drafter.draft(ids, most, text.trial)) if most > 0 else []
        drafting, before = time.perf_counter() - begin, decoder.seconds
        tokens = np.array([ids[-1], *draft], dtype=np.int64)  # the first is certain
        slot = Slot(0, tokens, wanted=len(tokens), replay=replay, commit=1)
        state, context.state = context.state, None  # if it fails, nothing is known of the state
        rows = decoder.run(Pass((slot,)), state)
        context.ids += ids[len(context.ids) :]
        context.state = state
        seconds = decoder.seconds - before
        steps, right = text.check(rows, draft)
        replay = len(steps) - 1
        pace.note(len(draft), right, seconds, drafting)
        report.passes += 1
        report.tokens += len(steps)
        report.drafted += len(draft)
        report.accepted += right
