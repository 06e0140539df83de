"""The methods that lm-eval asks of a model; ``harness`` imports this, and lm-eval, late."""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import LM

from lightmamba.evaluate.model import LanguageModel, Tokenizer
from lightmamba.evaluate.reader import Reader
from lightmamba.evaluate.scoring import Request, Score

__all__ = ["HarnessModel"]


class HarnessModel(LM):
    """A language model and its tokenizer, as lm-eval sees them.

    Parameters
    ----------
    model, tokenizer, **reading
        As of :class:`~lightmamba.evaluate.reader.Reader`.
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

        Without an id to begin from, the first token is not scored.
        """
        first, texts = self.reader.first, []
        for each in requests:
            ids = tuple(self.reader.tokenizer.encode(each.args[0]))
            ids = ids if ids[:1] == first else first + ids
            texts.append(Request(ids[:1], ids[1:]))
        scores: list[Score] = self.reader.score(f"{self.name}, texts", texts)
        return [each.log_likelihood for each in scores]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Continue every (context, settings), up to the first stop string.

        Settings are those of :func:`~lightmamba.evaluate.writing.prompt_of`.
        """
        return self.reader.write(f"{self.name}, written", [each.args for each in requests])

    @property
    def tokenizer_name(self) -> str:
        """Name of the model's tokenizer, in lm-eval's caches."""
        return "lightmamba"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Note in lm-eval's results; the template is the model's own."""
        return "the model's own"

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Render a conversation as the model was trained on it."""
        assert self.reader.template is not None
        return self.reader.template(chat_history, add_generation_prompt=add_generation_prompt)
