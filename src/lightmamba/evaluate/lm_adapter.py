"""The three methods that lm-eval asks of a model; ``harness`` imports this, and lm-eval, late."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from lm_eval.api.model import LM

from lightmamba.common.errors import InputError
from lightmamba.evaluate.journal import Journal
from lightmamba.evaluate.model import LanguageModel, Progress, Tokenizer, advance
from lightmamba.evaluate.scoring import Request, encode_pair, part_of, score

__all__ = ["HarnessModel"]

MAX_TOKENS = 256  # where a task gives no limit


class HarnessModel(LM):
    """A language model and its tokenizer, as lm-eval sees them.

    Parameters
    ----------
    model : LanguageModel
    tokenizer : Tokenizer
    batch : int, optional
        Sequences read together; by default as many as pay.
    eot_id : int, optional
        End-of-text id: replaces an empty context and ends generated text.
    threads : int
        Work on the logits.
    progress : callable (done, total), optional
        Called with the number of tokens read, or of requests continued.
    journal : Journal, optional
        What it has of these requests is not read again; texts that are written are not in it.
    name : str
        Of the journal's part.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        batch: int | None = None,
        eot_id: int | None = None,
        threads: int = 1,
        progress: Progress | None = None,
        journal: Journal | None = None,
        name: str = "lm-eval",
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.batch = batch
        self.eot_id = eot_id
        self.threads = threads
        self.progress = progress
        self.journal = journal
        self.name = name

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Score the (context, continuation) of every request: log-likelihood, and if greedy."""
        pairs = []
        for each in requests:
            context, continuation = each.args
            pairs.append(encode_pair(self.tokenizer, context, continuation, self.eot_id))
        return self._score(pairs, "continuations")

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Score the whole (text,) of every request in one go: a state has no length limit.

        Without an end-of-text id to begin from, the first token is not scored.
        """
        pairs = []
        for each in requests:
            ids = tuple(self.tokenizer.encode(each.args[0]))
            if self.eot_id is not None:
                ids = (self.eot_id, *ids)
            pairs.append(Request(ids[:1], ids[1:]))
        return [log_likelihood for log_likelihood, _ in self._score(pairs, "texts")]

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
            texts.append(
                self._generate(
                    context,
                    [until] if isinstance(until, str) else list(until),
                    int(settings.get("max_gen_toks", MAX_TOKENS)),
                )
            )
            if self.progress is not None:
                self.progress(len(texts), len(requests))
        return texts

    def _score(self, requests: Sequence[Request], kind: str) -> list[tuple[float, bool]]:
        part = part_of(self.journal, f"{self.name}, {kind}", requests, self.batch)
        scores = score(
            self.model, requests, batch=self.batch, threads=self.threads, progress=self.progress,
            part=part,
        )  # fmt: skip
        return [(each.log_likelihood, each.is_greedy) for each in scores]

    def _generate(self, context: str, until: Sequence[str], max_tokens: int) -> str:
        prefix = [] if self.eot_id is None else [self.eot_id]
        ids = list(self.tokenizer.encode(context)) or prefix
        if not ids:
            raise InputError("a prompt of zero tokens cannot be continued; give it some text")
        state = self.model.empty_state(1)
        written: list[int] = []
        text = ""
        while len(written) < max_tokens:
            logits, state = advance(self.model, np.array([ids]), state)
            token = int(logits[0, : self.model.valid_vocab].argmax())
            if token == self.eot_id:
                break
            written.append(token)
            ids = [token]
            text = self.tokenizer.decode(written)
            places = [text.find(stop) for stop in until if stop in text]
            if places:
                return text[: min(places)]
        return text
