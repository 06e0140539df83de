"""Prompts of tasks, read by a model and a tokenizer."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from lightmamba.evaluate.journal import Journal, Part
from lightmamba.evaluate.model import LanguageModel, Progress, Tokenizer
from lightmamba.evaluate.scoring import Request, Score, encode_pair, score
from lightmamba.evaluate.writing import prompt_of, write

__all__ = ["Reader"]


@dataclass(frozen=True)
class Reader:
    """Reads the prompts of tasks: scores what follows them, or continues them.

    Parameters
    ----------
    model : LanguageModel
        Read from its empty state for every context.
    tokenizer : Tokenizer
        Of the model's vocabulary.
    batch : int, optional
        Sequences read together; by default as many as pay.
    begins : int, optional
        Id in place of an empty context.
    ends : tuple of int
        Ids that end generated text.
    threads : int
        Work on the logits.
    progress : callable (done, total), optional
        Called with the number of tokens read or written.
    journal : Journal, optional
        What is in it is not read or written again.
    seed : int
        Of what is sampled.
    template : callable (messages, add_generation_prompt), optional
        Text of a conversation as the model was trained on it: questions become its turns.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    batch: int | None = None
    begins: int | None = None
    ends: tuple[int, ...] = ()
    threads: int = 1
    progress: Progress | None = None
    journal: Journal | None = None
    seed: int = 0
    template: Callable[..., str] | None = None

    @property
    def first(self) -> tuple[int, ...]:
        """Ids in place of an empty text: one, or none."""
        return () if self.begins is None else (self.begins,)

    def pairs(self, name: str, pairs: Iterable[tuple[str, str]]) -> list[Score]:
        """Score (context, continuation) pairs, which are the part ``name`` of the journal."""
        encoded = [encode_pair(self.tokenizer, *pair, begins=self.begins) for pair in pairs]
        return self.score(name, encoded)

    def score(self, name: str, requests: Sequence[Request]) -> list[Score]:
        """Score requests, which are the part ``name`` of the journal."""
        part = self._part(name, [(request.context, request.continuation) for request in requests])
        how: dict[str, Any] = {"batch": self.batch, "threads": self.threads}
        return score(self.model, requests, **how, progress=self.progress, part=part)

    def write(self, name: str, prompts: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Continue (prompt, settings), which are the part ``name`` of the journal.

        Settings are those of :func:`~lightmamba.evaluate.writing.prompt_of`.
        """
        asked = [
            prompt_of(list(self.tokenizer.encode(text)) or self.first, settings, self.seed)
            for text, settings in prompts
        ]
        part = self._part(name, [self.ends, *(prompt.plain() for prompt in asked)])
        how: dict[str, Any] = {"batch": self.batch, "ends": self.ends}
        return write(self.model, self.tokenizer, asked, **how, progress=self.progress, part=part)

    def _part(self, name: str, asked: Sequence[Any]) -> Part | None:
        """Part of the journal for these requests, if there is one."""
        if self.journal is None:
            return None
        digest = sha256(json.dumps(asked).encode()).hexdigest()
        return self.journal.part(name, {"rows": digest, "batch": self.batch})
