"""Log-probabilities of tokens, in the two forms of OpenAI's API."""

from collections.abc import Sequence
from typing import Any

from lightmamba.model.tokenizer import StreamDecoder, Tokenizer
from lightmamba.text.scores import Score

__all__ = ["ChatScores", "CompletionScores", "Words"]


class Words:
    """Texts of single tokens, each made once.

    Parameters
    ----------
    tokenizer
        The model's.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._known: dict[int, tuple[str, list[int] | None]] = {}

    def of(self, token_id: int) -> tuple[str, list[int] | None]:
        """Text of a token, and its bytes where they are known.

        A token that is part of a character is written as its bytes, as OpenAI does.
        """
        if token_id not in self._known:
            data = self.tokenizer.token_bytes(token_id)
            try:
                text = None if data is None else data.decode()
            except UnicodeDecodeError:
                text = "bytes:" + "".join(f"\\x{byte:02x}" for byte in data or b"")
            word = self.tokenizer.token(token_id) or "" if text is None else text
            self._known[token_id] = word, None if data is None else list(data)
        return self._known[token_id]


class CompletionScores:
    """Scores of a completion's tokens, in four lists.

    Parameters
    ----------
    words
        Of the model's tokenizer.
    text
        What the answer begins with.
    starts
        First characters in it of the prompt's tokens, if it was given as text: text may name
        special tokens, which are left out of an answer, and differ from what its tokens spell.
    """

    def __init__(self, words: Words, text: str = "", starts: Sequence[int] = ()) -> None:
        self._words, self._stream = words, StreamDecoder(words.tokenizer)
        self._starts, self._length = list(reversed(starts)), len(text)
        self._offset = 0  # characters of the text before the next token

    def written(self, scores: Sequence[Score]) -> dict[str, Any]:
        """Return the lists for further tokens of a choice."""
        offsets = []
        for score in scores:
            text, word = self._stream.push(score.token_id), self._words.of(score.token_id)[0]
            if self._starts:
                offsets.append(self._starts.pop())
                self._offset = self._length
            else:
                # Bytes before it that are no character come out with its own text.
                early = len(text) - len(word) if text.endswith(word) else 0
                offsets.append(self._offset + early)
                self._offset += len(text)
        return {
            "tokens": [self._words.of(score.token_id)[0] for score in scores],
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": [self._top(score) for score in scores],
            "text_offset": offsets,
        }

    def _top(self, score: Score) -> dict[str, float] | None:
        """Words and log-probabilities; of two ids with one word the more likely counts."""
        if score.logprob is None:
            return None
        found: dict[str, float] = {}
        for token_id, logprob in score.top:
            found.setdefault(self._words.of(token_id)[0], logprob)
        return found


class ChatScores:
    """Scores of a chat's tokens, an object each.

    Parameters
    ----------
    words
        Of the model's tokenizer.
    """

    def __init__(self, words: Words) -> None:
        self._words = words

    def written(self, scores: Sequence[Score]) -> dict[str, Any]:
        """Return the objects for further tokens of a choice."""
        content = [
            self._one(score.token_id, score.logprob)
            | {"top_logprobs": [self._one(*each) for each in score.top]}
            for score in scores
        ]
        return {"content": content, "refusal": None}

    def _one(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        word, data = self._words.of(token_id)
        return {"token": word, "logprob": logprob, "bytes": data}
