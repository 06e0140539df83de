"""Log-probabilities of tokens, in the two forms of OpenAI's API."""

from collections.abc import Sequence
from typing import Any

from lightmamba.runtime.scores import Score
from lightmamba.tokenizer import Tokenizer

__all__ = ["ChatScores", "CompletionScores"]

REPLACEMENT = "\ufffd"  # of bytes that are no character


class CompletionScores:
    """Scores of a completion's tokens, in four lists.

    Parameters
    ----------
    tokenizer
        The model's.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._offset = 0  # characters before the next token

    def written(self, scores: Sequence[Score]) -> dict[str, Any]:
        """The lists for further tokens of a choice."""
        words = [_word(self._tokenizer, score.token_id) for score in scores]
        offsets = []
        for word in words:
            offsets.append(self._offset)
            self._offset += len(word)
        return {
            "tokens": words,
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": [self._top(score) for score in scores],
            "text_offset": offsets,
        }

    def _top(self, score: Score) -> dict[str, float] | None:
        """Words and log-probabilities; of two ids with one word the likelier counts."""
        if score.logprob is None:
            return None
        found: dict[str, float] = {}
        for token_id, logprob in score.top:
            found.setdefault(_word(self._tokenizer, token_id), logprob)
        return found


class ChatScores:
    """Scores of a chat's tokens, an object each.

    Parameters
    ----------
    tokenizer
        The model's.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def written(self, scores: Sequence[Score]) -> dict[str, Any]:
        """The objects for further tokens of a choice."""
        content = [
            self._one(score.token_id, score.logprob)
            | {"top_logprobs": [self._one(*each) for each in score.top]}
            for score in scores
        ]
        return {"content": content, "refusal": None}

    def _one(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        word = _word(self._tokenizer, token_id)
        return {"token": word, "logprob": logprob, "bytes": list(word.encode())}


def _word(tokenizer: Tokenizer, token_id: int) -> str:
    """Text of one token; the vocabulary's own word where it has none or is part of a character."""
    text = tokenizer.decode([token_id])
    if text and REPLACEMENT not in text:
        return text
    return tokenizer.token(token_id) or text
