"""From a prompt to tokens and text, step by step."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text.context import Context
from lightmamba.text.continuation import Continuation, Decoder, FinishReason, Step
from lightmamba.text.drafting import Drafter, most_drafted
from lightmamba.text.speculation import Speculation, speculate

__all__ = ["Generation", "generate"]


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
    if drafter is not None:
        if not most_drafted(decoder):
            raise InputError(
                "a draft is verified several tokens at a time, but this device takes one in a "
                "pass; speculate on the engine"
            )
        return speculate(decoder, text, drafter, report=report, context=context)
    return _steps(decoder, text, context or Context())


def _steps(decoder: Decoder, text: Continuation, context: Context) -> Iterator[Step]:
    ids = context.begin(text.prompt, lambda: decoder.empty_state(1))
    while True:
        step = text.take(context.read(decoder, ids))
        yield step
        if step.finish_reason is not None:
            return
        ids = [step.token_id]
