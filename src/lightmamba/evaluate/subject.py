"""A model with what came with it, and the results of evaluating it as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from lightmamba.common.errors import InputError
from lightmamba.evaluate.comparison import compare
from lightmamba.evaluate.harness import run_tasks
from lightmamba.evaluate.likelihood import perplexity
from lightmamba.evaluate.model import LanguageModel
from lightmamba.evaluate.tasks import evaluate_file
from lightmamba.model.tokenizer import BareTokenizer, Tokenizer, check_vocab
from lightmamba.text.chat import render_chat, special_ids, special_words
from lightmamba.text.model import Model

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """Subject of an evaluation.

    Parameters
    ----------
    logits
        Gives them: the integer engine, a device, or the float model of a checkpoint.
    given
        What came with it: a quantized model or a checkpoint.
    lacking
        Sentence for a checkpoint without a tokenizer.
    model
        The quantized model, of which ``given`` is a part, if it is one; has sentences of its own.
    """

    logits: Any
    given: Any
    lacking: str
    model: Model | None = None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; one that is missing, or is of another vocabulary, is refused."""
        if self.model is not None:
            return self.model.tokenizer
        if self.given.tokenizer is None:
            raise InputError(self.lacking)
        tokenizer = Tokenizer.from_bytes(self.given.tokenizer)
        check_vocab(tokenizer, self.logits.valid_vocab)
        return tokenizer

    def text(
        self, ids: ArrayLike, reference: LanguageModel | None = None, **options: Any
    ) -> dict[str, Any]:
        """Perplexity of a text, and the comparison with a reference where there is one.

        ``options`` are those of :func:`perplexity` and :func:`compare`.
        """
        if reference is None:
            return perplexity(self.logits, ids, **options).plain()
        return compare(self.logits, reference, ids, **options).plain()

    def chat_text(
        self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True
    ) -> str:
        """Text of a conversation by the model's chat template."""
        words = special_words(self.given.special_ids, self.tokenizer)
        return render_chat(
            self.given.chat_template, messages, special_tokens=words,
            add_generation_prompt=add_generation_prompt,
        )  # fmt: skip

    def tasks(
        self, tasks: Sequence[str], *, chat: bool = False, **options: Any
    ) -> list[dict[str, Any]]:
        """Results of tasks: files of rows (``.jsonl``), or all of them tasks of lm-eval.

        With ``chat``, prompts are turns of a conversation; else a text begins with the special ids
        that the tokenizer puts before it. ``options`` are those of
        :func:`evaluate_file` and :func:`run_tasks`.

        Raises
        ------
        InputError
            If the model has no chat template, or as those two.
        """
        if chat and self.given.chat_template is None:
            raise InputError("the model has no chat template; leave --chat out")
        ends = special_ids(self.given.special_ids, "eos")
        tokenizer = BareTokenizer(self.tokenizer, begins=not chat)
        begins = (*tokenizer.first, *special_ids(self.given.special_ids, "bos"), *ends)
        options |= {"begins": next(iter(begins), None), "ends": ends}
        options["template"] = self.chat_text if chat else None
        if all(task.endswith(".jsonl") for task in tasks):
            files = map(Path, tasks)
            found = [evaluate_file(self.logits, tokenizer, file, **options) for file in files]
        else:
            found = [*run_tasks(self.logits, tokenizer, tasks, **options)]
        return [task.plain() for task in found]
