"""One prompt and the tokens drawn after it: sampling, stops and text.

The decoder computes logits: the integer engine, a simulated accelerator or a board. Sampling and
text are the same for all of them, so equal logits give equal text.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass
from lightmamba.model.tokenizer import StreamDecoder, Tokenizer, check_vocab
from lightmamba.numerics.sampling import Sampler
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text.scores import Score, scores

__all__ = [
    "Continuation", "Decoder", "FinishReason", "LanguageModel", "Logits", "Step", "StopMatcher",
    "Vocabulary", "room_after",
]  # fmt: skip

Logits = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]
FinishReason = Literal["length", "context", "stop", "eos"]


def room_after(prompt: int, tokens: int, context: int | None) -> int:
    """Tokens that may be drawn after a prompt, at most; ``tokens`` where no memory sets a limit.

    Parameters
    ----------
    prompt, tokens : int
        Tokens of the prompt, and those that are wanted after it.
    context : int, optional
        Tokens that a sequence may have.

    Raises
    ------
    InputError
        If the prompt is longer than that.
    """
    room = tokens if context is None else context - prompt + 1
    if room < 1:
        raise InputError(
            f"the prompt has {prompt:,} tokens, but the build has memory for {context:,} in a "
            f"sequence; shorten the prompt, or compile with --context {prompt + tokens - 1}"
        )
    return room


class Vocabulary(Protocol):
    """Properties of a model that sampling from its logits needs."""

    @property
    def valid_vocab(self) -> int:
        """Ids that may be drawn or given: 0 to ``valid_vocab - 1``."""
        ...

    @property
    def logit_exponent(self) -> int:
        """A logit's value is ``q * 2**logit_exponent``."""
        ...


class LanguageModel(Vocabulary, Protocol):
    """A model that reads ids in pieces and keeps the states of the sequences outside."""

    @property
    def vocab_size(self) -> int:
        """Logits per token, padding included."""
        ...

    def empty_state(self, batch: int) -> Any:
        """Make the state of ``batch`` sequences before their first token."""
        ...

    def forward(
        self, ids: NDArray[np.int64], state: Any, *, last_only: bool = True
    ) -> tuple[Logits, Any]:
        """Take ids (batch, seqlen) to logits (batch, 1 or seqlen, vocab) and the new state."""
        ...


class Decoder(LanguageModel, Protocol):
    """A language model that text is written with: integer logits, and passes that may be given up.

    Attributes
    ----------
    context_length
        Tokens that a sequence may have; None if memory sets no limit.
    undecided
        Tokens of a pass that the next one may give up, at most.
    seconds
        Clock by which passes are timed; a simulation has that of the hardware.
    """

    @property
    def context_length(self) -> int | None: ...

    @property
    def undecided(self) -> int: ...

    @property
    def seconds(self) -> float: ...

    def empty_state(self, batch: int, undecided: int = 0) -> Any:
        """Make the state of ``batch`` sequences before their first token."""
        ...

    def forward(
        self, ids: NDArray[np.int64], state: Any, *, last_only: bool = True
    ) -> tuple[NDArray[np.int32], Any]:
        """As of any language model."""
        ...

    def run(self, work: Pass, state: Any) -> NDArray[np.int32]:
        """Carry out a pass; logits (wanted, vocab_size)."""
        ...


@dataclass(frozen=True)
class Step:
    """One generated token.

    Parameters
    ----------
    token_id : int
    text : str
        What became certain with this token; the pieces of all steps are the whole text.
    finish_reason : "length", "context", "stop", "eos" or None
        On the last step, why it is the last: ``max_tokens``, the end of the decoder's memory, a
        stop string or a stop id.
    score : Score, optional
        Its log-probability, where it was asked for.
    """

    token_id: int
    text: str
    finish_reason: FinishReason | None = None
    score: Score | None = None


class Continuation:
    """Everything that happens to one prompt's logits: sampling, stops and text.

    It does not know what computes the logits, or what else is computed at the same time, so a text
    is the same wherever it is generated.

    Parameters
    ----------
    vocabulary : Vocabulary
        Of the model.
    prompt_ids, max_tokens, sampling, stop_ids, stop_strings, tokenizer
        As for :func:`generate`.
    stream : int
        Which of the seed's random streams to draw from; texts that continue one prompt with one
        seed differ by it. :func:`generate` takes stream 0.
    top : int, optional
        Score every token, with this many of the most likely ones at its position.
    context_length : int, optional
        Tokens that the sequence may have, including the prompt. The last token that is drawn does
        not count, since it is never fed.

    Raises
    ------
    InputError
        As :func:`generate`.

    Attributes
    ----------
    prompt : (seqlen,) int64
        The checked ids.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        prompt_ids: Sequence[int] | NDArray[np.int64],
        *,
        max_tokens: int,
        sampling: SamplingOptions,
        stop_ids: Collection[int] = (),
        stop_strings: Sequence[str] = (),
        tokenizer: Tokenizer | None = None,
        stream: int = 0,
        top: int | None = None,
        context_length: int | None = None,
    ) -> None:
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
            raise InputError(
                f"max_tokens must be a whole number from 1 on, not {max_tokens!r}; try 64"
            )
        valid = vocabulary.valid_vocab
        self.prompt = _checked_ids("the prompt's", prompt_ids, valid)
        if not len(self.prompt):
            raise InputError("the prompt has no tokens; give at least one, such as 'The'")
        self._stop_ids = frozenset(_checked_ids("stop", list(stop_ids), valid).tolist())
        self._matcher = StopMatcher(stop_strings)
        if tokenizer is not None:
            check_vocab(tokenizer, valid)
        elif stop_strings:
            raise InputError("stop strings need a tokenizer, and the model has none; give stop ids")
        self._sampler = Sampler(sampling, vocabulary.logit_exponent, valid, stream=stream)
        self._seen = self._sampler.observe(self._sampler.empty_state(1), self.prompt[None])
        self._text = None if tokenizer is None else StreamDecoder(tokenizer)
        room = room_after(len(self.prompt), max_tokens, context_length)
        self.left, self.top = min(max_tokens, room), top  # tokens that may still be drawn
        self._last: FinishReason = "length" if max_tokens <= room else "context"

    def take(self, logits: NDArray[np.int32]) -> Step:
        """Draw the next token from the logits (1, vocab) of the last one.

        Once a step has a finish reason, nothing more may be drawn.
        """
        ids, self._seen = self._sampler(logits, self._seen)
        token_id = int(ids[0])
        self.left -= 1
        reason: FinishReason | None = "eos" if token_id in self._stop_ids else None
        piece = ""
        if self._text is not None and reason is None:
            piece = self._matcher.push(self._text.push(token_id))
        if self._matcher.stopped:
            reason = "stop"
        elif reason is None and not self.left:
            reason = self._last
        if self._text is not None and reason not in (None, "stop"):
            piece += self._matcher.push(self._text.finish()) + self._matcher.finish()
        scored = self.scores(logits, [token_id])
        return Step(token_id, piece, reason, scored[0] if scored else None)

    def check(self, logits: NDArray[np.int32], draft: Sequence[int]) -> tuple[list[Step], int]:
        """Draw from the logits (1 + len(draft), vocab) of a pass, as long as the draft is right.

        Returns the steps, all but the last of them drafted tokens from which the text goes on, and
        how many drafted tokens were drawn: a text may end with one.
        """
        steps: list[Step] = []
        for n in range(len(draft) + 1):
            steps.append(self.take(logits[n : n + 1]))
            if steps[-1].finish_reason or n == len(draft) or steps[-1].token_id != draft[n]:
                break
        right = sum(step.token_id == id_ for step, id_ in zip(steps, draft, strict=False))
        return steps, right

    def scores(self, logits: NDArray[np.int32], token_ids: Sequence[int]) -> list[Score]:
        """Score tokens by the logits (n, vocab) of their positions; none unless asked for."""
        if self.top is None:
            return []
        valid = logits[:, : self._sampler.valid_vocab]
        return scores(valid, self._sampler.logit_exponent, token_ids, self.top)

    def trial(self) -> Callable[[NDArray[np.int32], int], int]:
        """Draw function of logits (1, vocab) and exponent, which draws as this text will next.

        Nothing of the text changes.
        """
        seen = self._seen

        def draw(logits: NDArray[np.int32], exponent: int) -> int:
            nonlocal seen
            sampler = replace(self._sampler, logit_exponent=exponent)
            ids, seen = sampler(logits, seen)
            return int(ids[0])

        return draw


class StopMatcher:
    """Let text through up to the first stop string, which is not part of it.

    The first is the one that ends first, and of those the longest; so the result does not depend on
    how the text was cut into pieces. Text that may be the beginning of a stop string is held back.

    Parameters
    ----------
    stop_strings : sequence of str

    Raises
    ------
    InputError
        If one of them is empty.
    """

    def __init__(self, stop_strings: Sequence[str]) -> None:
        if isinstance(stop_strings, str):
            stop_strings = (stop_strings,)
        if not all(stop_strings):
            raise InputError("a stop string is empty; give at least one character, such as '\\n'")
        self._stops = tuple(stop_strings)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Add text and return what is certain to come before any stop string."""
        if self.stopped:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        certain = len(text) - self._beginning(text)
        self._held = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """Return what was held back: no stop string came of it."""
        text, self._held = self._held, ""
        return text

    def _beginning(self, text: str) -> int:
        """Count the characters at the end of ``text`` that may begin a stop string."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0


def _checked_ids(
    whose: str, ids: Sequence[int] | NDArray[np.int64], valid_vocab: int
) -> NDArray[np.int64]:
    """Copy ids to an array (seqlen,), or say which one the model does not know."""
    array = np.asarray(ids if len(ids) else np.empty(0, dtype=np.int64))
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{whose} ids must be one row of whole numbers, such as [1, 2, 3]")
    bad = array[(array < 0) | (array >= valid_vocab)]
    if len(bad):
        raise InputError(
            f"{whose} token id {bad[0]} is out of range; the model's ids are 0 to {valid_vocab - 1}"
        )
    return array.astype(np.int64)
