"""The three methods that lm-eval asks of a model; ``harness`` imports this, and lm-eval, late."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from lm_eval.api.model import LM

from lightmamba.common.errors import InputError
from lightmamba.evaluate.model import LanguageModel, Tokenizer, advance
from lightmamba.evaluate.scoring import Reader, Request, Score

__all__ = ["HarnessModel"]

MAX_TOKENS = 256  # where a task gives no limit


class HarnessModel(LM):
    """A language model and its tokenizer, as lm-eval sees them.

    Parameters
    ----------
    model, tokenizer, **reading
        As of :class:`~lightmamba.evaluate.scoring.Reader`.
    name : str
        Of the journal's part.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        name: str = "lm-eval",
        **reading: Any,
    ) -> None:
        super().__init__()
        self.reader, self.name = Reader(model, tokenizer, **reading), name

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Score the (context, continuation) of every request: log-likelihood, and if greedy."""
        pairs = [each.args for each in requests]
        scores = self.reader.pairs(f"{self.name}, continuations", pairs)
        return [(each.log_likelihood, each.is_greedy) for each in scores]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Score the whole (text,) of every request in one go: a state has no length limit.

        Without an end-of-text id to begin from, the first token is not scored.
        """
        first, texts = self._first(), []
        for each in requests:
            ids = (*first, *self.reader.tokenizer.encode(each.args[0]))
            texts.append(Request(ids[:1], ids[1:]))
        scores: list[Score] = self.reader.score(f"{self.name}, texts", texts)
        return [each.log_likelihood for each in scores]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Continue every (context, settings) greedily, up to the first stop string.

        Raises
        ------
        InputError
            If a task asks for sampling, or for a context of zero tokens.
        """
        texts = []
        for each in requests:
            context, settings = each.args
            if settings.get("do_sample") and settings.get("temperature") != 0:
                raise InputError("this task samples its text; only greedy tasks are supported here")
            until = settings.get("until") or []
            stops = [until] if isinstance(until, str) else list(until)
            most = int(settings.get("max_gen_toks", MAX_TOKENS))
            texts.append(self._generate(context, stops, most))
            if self.reader.progress is not None:
                self.reader.progress(len(texts), len(requests))
        return texts

    def _first(self) -> tuple[int, ...]:
        """The end-of-text id, if there is one."""
        return () if self.reader.eot_id is None else (self.reader.eot_id,)

    def _generate(self, context: str, until: Sequence[str], max_tokens: int) -> str:
        model, tokenizer = self.reader.model, self.reader.tokenizer
        ids = list(tokenizer.encode(context)) or list(self._first())
        if not ids:
            raise InputError("a prompt of zero tokens cannot be continued; give it some text")
        state = model.empty_state(1)
        written: list[int] = []
        text = ""
        while len(written) < max_tokens:
            logits, state = advance(model, np.array([ids]), state)
            token = int(logits[0, : model.valid_vocab].argmax())
            if token == self.reader.eot_id:
                break
            written.append(token)
            ids = [token]
            text = tokenizer.decode(written)
            places = [text.find(stop) for stop in until if stop in text]
            if places:
                return text[: min(places)]
        return text
