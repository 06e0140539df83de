"""Text to token ids and back, with the checkpoint's own tokenizer.json."""

import re
from collections.abc import Sequence

import numpy as np
import tokenizers
from numpy.typing import NDArray

from lightmamba.common.errors import InputError

__all__ = ["BareTokenizer", "StreamDecoder", "Tokenizer", "check_vocab"]

_REPLACEMENT = "\ufffd"  # what a decoder writes for bytes that are no character, or not yet
_SPELLED = re.compile(r"<0x([0-9A-F]{2})>")  # a byte, in vocabularies that fall back to bytes
_LONGEST_CHARACTER = 4  # bytes, so at most as many ids


def _byte_characters() -> dict[str, int]:
    """Bytes by the characters of byte-level vocabularies; printable ones are themselves."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(b): b for b in own} | {chr(256 + n): b for n, b in enumerate(others)}


_BYTES = _byte_characters()


class Tokenizer:
    """A tokenizer.json, without its truncation and padding.

    Parameters
    ----------
    inner : tokenizers.Tokenizer
        The library's tokenizer; it becomes this object's own.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        self._vocab_size = 1 + max(inner.get_vocab(with_added_tokens=True).values(), default=-1)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Tokenizer":
        """Read the content of a tokenizer.json.

        Raises
        ------
        InputError
            If ``data`` is something else.
        """
        try:
            inner = tokenizers.Tokenizer.from_buffer(data)
        except ValueError as error:
            raise InputError(
                f"the tokenizer is not a tokenizer.json of the tokenizers library ({error}); "
                "give the file tokenizer.json of the checkpoint's folder"
            ) from None
        return cls(inner)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, added tokens included."""
        return self._vocab_size

    def token(self, token_id: int) -> str | None:
        """The word of an id, or None if there is none."""
        word: str | None = self._inner.id_to_token(token_id)
        return word

    def token_bytes(self, token_id: int) -> bytes | None:
        """The bytes of one token in a text, or None where its word does not say them.

        Special tokens, which no text has, give their names.
        """
        word = self.token(token_id)
        if word is None:
            return None
        text = self._inner.decode([token_id], skip_special_tokens=False)
        if text and _REPLACEMENT not in text:
            return (" " + text if word.startswith("\u2581") else text).encode()
        if found := _SPELLED.fullmatch(word):
            return bytes([int(found[1], 16)])
        if all(character in _BYTES for character in word):
            return bytes(_BYTES[character] for character in word)
        return None

    @property
    def first(self) -> tuple[int, ...]:
        """Special ids that the tokenizer puts before a text by itself, often none."""
        encoding = self.encoding("a")
        before = encoding.sequence_ids.index(0) if 0 in encoding.sequence_ids else 0
        return tuple(encoding.ids[:before])

    def encode(self, text: str, *, add_special_tokens: bool = True) -> NDArray[np.int64]:
        """Turn text into ids, shape (seqlen,).

        ``add_special_tokens`` keeps what the tokenizer puts around a text by itself, such as a
        token for the beginning.

        Raises
        ------
        InputError
            If the text is not valid Unicode.
        """
        encoding = self.encoding(text, add_special_tokens=add_special_tokens)
        return np.array(encoding.ids, dtype=np.int64)

    def encoding(self, text: str, *, add_special_tokens: bool = True) -> tokenizers.Encoding:
        """Turn text into ids, and keep which characters each is of; as :meth:`encode`."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the text is not valid Unicode at character {error.start}; give it as UTF-8"
            ) from None
        # The library lets other threads run while it works on a batch, but not on a single text.
        return self._inner.encode_batch([text], add_special_tokens=add_special_tokens)[0]

    def decode(
        self, ids: Sequence[int] | NDArray[np.int64], *, skip_special_tokens: bool = True
    ) -> str:
        """Turn ids, shape (seqlen,), into text, without special tokens or with their names.

        Raises
        ------
        InputError
            If an id is not in the vocabulary.
        """
        numbers = [int(token_id) for token_id in ids]
        for token_id in numbers:
            if not 0 <= token_id < self.vocab_size:
                raise InputError(
                    f"token id {token_id} is not in the tokenizer's vocabulary; "
                    f"its ids are 0 to {self.vocab_size - 1}"
                )
        return self._inner.decode(numbers, skip_special_tokens=skip_special_tokens)


class BareTokenizer:
    """A tokenizer that puts no special ids around a text, as tasks want it.

    Parameters
    ----------
    tokenizer : Tokenizer
    begins : bool
        Whether a text begins with the special ids that the tokenizer puts before it: once.
    """

    def __init__(self, tokenizer: Tokenizer, *, begins: bool = False) -> None:
        self._tokenizer, self.vocab_size = tokenizer, tokenizer.vocab_size
        self.first = tokenizer.first if begins else ()

    def encode(self, text: str) -> list[int]:
        """Map text to ids."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).tolist()
        begun = tuple(ids[: len(self.first)]) == self.first
        return ids if begun else [*self.first, *ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Map ids to text."""
        return self._tokenizer.decode(ids)


class StreamDecoder:
    """Ids in, one by one; text out, as soon as it is certain.

    Never gives half a character. What :meth:`push` and, at the end, :meth:`finish` return is
    together ``tokenizer.decode`` of all the ids, whatever they are for a byte-level tokenizer. One
    that falls back to bytes by spelling them out (``<0xE2>``) rewrites text already given when a
    run of bytes turns out not to be UTF-8; then only the replacement characters may differ.

    Parameters
    ----------
    tokenizer : Tokenizer
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []  # the last ids: enough context to decode the next one
        self._given = 0  # characters of the window's text that were returned
        self._text = ""  # of the window

    def push(self, token_id: int) -> str:
        """Add one id and return the text that is certain now, often its own, sometimes none.

        Raises
        ------
        InputError
            If the id is not in the vocabulary; the stream stays as it was.
        """
        text = self._tokenizer.decode([*self._window, token_id])
        self._window.append(token_id)
        self._text = text
        certain = text.rstrip(_REPLACEMENT)
        piece = certain[self._given :]
        self._given += len(piece)
        if certain == text:
            self._shorten()
        return piece

    def finish(self) -> str:
        """Return what was held back: an unfinished character, as a replacement character."""
        piece = self._text[self._given :]
        self._window, self._given, self._text = [], 0, ""
        return piece

    def _shorten(self) -> None:
        """Keep only the last ids, the fewest whose text alone is the end of the text so far."""
        for count in range(1, min(_LONGEST_CHARACTER, len(self._window) - 1) + 1):
            text = self._tokenizer.decode(self._window[-count:])
            if text and self._text.endswith(text):
                self._window, self._given, self._text = self._window[-count:], len(text), text
                return


def check_vocab(tokenizer: Tokenizer, valid_vocab: int, *, padding: int = 0) -> None:
    """Refuse a tokenizer that is not the model's.

    Parameters
    ----------
    tokenizer : Tokenizer
        Whose ids the text becomes.
    valid_vocab : int
        Ids that the model knows.
    padding : int
        How many of them, at the end, may be padding that the tokenizer lacks.

    Raises
    ------
    InputError
        If the vocabularies differ in size.
    """
    if not valid_vocab - padding <= tokenizer.vocab_size <= valid_vocab:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids and the model {valid_vocab:,}, so "
            "they do not belong together; give the tokenizer.json of the model's own checkpoint"
        )
