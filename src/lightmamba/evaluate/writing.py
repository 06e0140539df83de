"""Texts that a model writes after prompts, several at a time.

Sampling, stops and text are those of :mod:`lightmamba.text.continuation`, so a task's text is the
one that ``lightmamba generate`` writes with the same options.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.evaluate.journal import Part
from lightmamba.evaluate.model import SEQUENCES, LanguageModel, Progress, advance, check_batch
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text.continuation import Continuation

__all__ = ["MAX_TOKENS", "SETTINGS", "Prompt", "prompt_of", "write"]

MAX_TOKENS = 256  # where a task gives no limit
SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # of a sampler
NATS = -16  # exponent of the logits of a float model, as the sampler takes them


@dataclass(frozen=True)
class Prompt:
    """Ids to continue, and how.

    Parameters
    ----------
    ids : tuple of int
        At least one.
    max_tokens : int
    stops : tuple of str
        The text ends before the first of them.
    sampling : SamplingOptions
    """

    ids: tuple[int, ...]
    max_tokens: int
    stops: tuple[str, ...]
    sampling: SamplingOptions

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return asdict(self)


def prompt_of(ids: Sequence[int], settings: Mapping[str, Any], seed: int = 0) -> Prompt:
    """Prompt with the settings of a task, by the names of lm-eval and transformers.

    Parameters
    ----------
    ids
        Of the prompt.
    settings
        ``until`` (a string or several), ``max_gen_toks``, ``do_sample``, ``temperature``,
        ``top_k``, ``top_p``, ``min_p``, ``repetition_penalty``; others are passed over. Without
        ``do_sample`` or a temperature the text is greedy.
    seed
        Of what is sampled.

    Raises
    ------
    InputError
        If there is no id, or a setting is out of its range.
    """
    if not ids:
        raise InputError("a prompt of zero tokens cannot be continued; give it some text")
    until = settings.get("until") or []
    chosen = {name: settings[name] for name in SETTINGS if settings.get(name) is not None}
    samples = settings.get("do_sample", "temperature" in chosen)
    if not samples:
        chosen["temperature"] = 0
    return Prompt(
        tuple(ids),
        int(settings.get("max_gen_toks", MAX_TOKENS)),
        (until,) if isinstance(until, str) else tuple(until),
        SamplingOptions(**chosen, seed=seed),
    )


def write(
    model: LanguageModel,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    ends: Collection[int] = (),
    batch: int | None = None,
    progress: Progress | None = None,
    part: Part | None = None,
) -> list[str]:
    """Continue every prompt from the empty state; texts without their stops.

    Each prompt draws from a random stream of its own, named by its place, so its text does not
    depend on the batch. Prompts of a batch are read and continued together, the longest first.

    Parameters
    ----------
    model : LanguageModel
        A decoder takes the prompts of a batch in one pass; any other model one after the other.
    tokenizer
        Of the model's vocabulary: ``decode`` and ``vocab_size``.
    prompts : sequence of Prompt
        In the order of the texts that are returned.
    ends : ids
        Each ends a text.
    batch : int, optional
        Prompts continued together; a device takes one.
    progress : callable (done, total), optional
        Called with the number of tokens read or written, of those that there may be at most.
    part : Part, optional
        Of a journal: prompts that are in it are not continued again.

    Raises
    ------
    InputError
        If an id is out of range, a prompt has no room, or a setting is wrong.
    """
    check_batch(batch)
    passes = model if hasattr(model, "run") else _Alone(model)

    def begun(number: int) -> Continuation:
        prompt = prompts[number]
        return Continuation(
            passes, prompt.ids, max_tokens=prompt.max_tokens, sampling=prompt.sampling,
            stop_ids=ends, stop_strings=prompt.stops, tokenizer=tokenizer, stream=number,
            context_length=getattr(model, "context_length", None),
        )  # fmt: skip

    def measure(_: int, unit: list[int], tell: Callable[[int], None]) -> list[str]:
        return _together(passes, [begun(number) for number in unit], tell)

    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n].ids), reverse=True)
    step = batch or SEQUENCES
    units = [order[n : n + step] for n in range(0, len(order), step)]
    costs = [sum(len(prompts[n].ids) + prompts[n].max_tokens for n in unit) for unit in units]
    numbered = [(n, *each) for n, each in enumerate(zip(costs, units, strict=True))]
    found = (part or Part()).results(model, numbered, measure, progress)
    texts = {n: text for unit, each in zip(units, found, strict=True)
             for n, text in zip(unit, each, strict=True)}  # fmt: skip
    return [texts[n] for n in range(len(prompts))]


def _together(passes: Any, texts: Sequence[Continuation], tell: Callable[[int], None]) -> list[str]:
    """Continue texts in passes that have a token of each that goes on."""
    state = passes.empty_state(len(texts))
    pieces = [list[str]() for _ in texts]
    unread: dict[int, NDArray[np.int64]] = {n: text.prompt for n, text in enumerate(texts)}
    while unread:
        slots = tuple(Slot(n, ids) for n, ids in unread.items())
        rows = passes.run(Pass(slots), state)
        tell(sum(len(ids) for ids in unread.values()))
        for row, n in enumerate(list(unread)):
            step = texts[n].take(rows[row : row + 1])
            pieces[n].append(step.text)
            unread[n] = np.array([step.token_id])
            if step.finish_reason is not None:
                del unread[n]
                tell(texts[n].left + 1)  # the last token is not read
    return ["".join(each) for each in pieces]


class _Alone:
    """Passes of a model that takes one sequence at a time, and whose logits may be of floats."""

    logit_exponent = NATS

    def __init__(self, model: LanguageModel) -> None:
        self._model, self.valid_vocab = model, model.valid_vocab
        self._scale = 2.0 ** (model.logit_exponent - NATS)

    def empty_state(self, sequences: int) -> list[Any]:
        """Make the states of sequences that have not begun."""
        return [self._model.empty_state(1) for _ in range(sequences)]

    def run(self, work: Pass, states: list[Any]) -> NDArray[np.int32]:
        """Read the tokens of each slot; logits (slots, vocab)."""
        rows = []
        for slot in work.slots:
            at = slot.sequence
            logits, states[at] = advance(self._model, slot.tokens[None], states[at])
            rows.append(logits[0])
        found = np.round(np.stack(rows) * self._scale)
        if not np.isfinite(found).all():
            raise InputError("the model gives logits that are not finite; check its weights")
        limit = np.iinfo(np.int32)
        return np.clip(found, limit.min, limit.max).astype(np.int32)
