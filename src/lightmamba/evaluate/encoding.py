"""A long text to ids, in parts: what a tokenizer keeps of each token is large."""

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from lightmamba.evaluate.model import Progress
from lightmamba.model.tokenizer import Tokenizer

__all__ = ["encode_text"]

PART = 1 << 18  # characters encoded together, at least
OVERLAP = 1 << 12  # characters that a part and the next have in common
AGREED = 64  # tokens that must be the same where one part goes over into the next


def encode_text(
    tokenizer: Tokenizer, text: str, *, progress: Progress | None = None
) -> NDArray[np.int32]:
    """Turn a text of any length into the ids that the tokenizer gives of the whole.

    Parts overlap. One goes over into the next at a character where both begin a token, and from
    where on both have the same ``AGREED`` tokens. If there is none, the first part is made twice as
    long, up to the whole rest of the text.

    Parameters
    ----------
    tokenizer : Tokenizer
        May put ids around a text; they enclose the whole text.
    text : str
        Of any length.
    progress : callable (done, total), optional
        Called with the number of characters done.

    Returns
    -------
    (seqlen,) int32

    Raises
    ------
    InputError
        If the text is not valid Unicode.
    """
    if len(text) <= PART:
        return tokenizer.encode(text).astype(np.int32)
    before, after = _around(tokenizer)
    found = [before]
    start, size, given = 0, PART, 0  # given: tokens of this part that the part before has
    part = _encode(tokenizer, text, start, size)
    while start + size + OVERLAP < len(text):
        following = start + size
        other = _encode(tokenizer, text, following, PART)
        seam = _seam(part, other, following - start)
        if seam is None:
            size *= 2
            part = _encode(tokenizer, text, start, size)
            continue
        found.append(np.array(part.ids[given : seam[0]], np.int32))
        start, size, part, given = following, PART, other, seam[1]
        if progress is not None:
            progress(start, len(text))
    found += [np.array(part.ids[given:], np.int32), after]
    if progress is not None:
        progress(len(text), len(text))
    return np.concatenate(found)


def _encode(tokenizer: Tokenizer, text: str, start: int, size: int) -> Encoding:
    return tokenizer.encoding(text[start : start + size + OVERLAP], add_special_tokens=False)


def _around(tokenizer: Tokenizer) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ids that the tokenizer puts before and after every text."""
    whole = tokenizer.encode("a").astype(np.int32)
    inner = tokenizer.encode("a", add_special_tokens=False)
    for begin in range(len(whole) - len(inner) + 1):
        if (whole[begin : begin + len(inner)] == inner).all():
            return whole[:begin], whole[begin + len(inner) :]
    return whole[:0], whole[:0]


def _seam(part: Encoding, other: Encoding, distance: int) -> tuple[int, int] | None:
    """Where ``part`` goes over into ``other``, which begins a number of characters after it.

    Returns
    -------
    Numbers of the first token that both have, in the one and in the other; None if there is none.
    """
    ours, theirs = _tokens(part, distance), _tokens(other, 0)
    place = {token: j for j, token in theirs.items() if token[2] <= OVERLAP}
    for i, token in ours.items():
        j = place.get(token)
        if j is not None and all(
            ours.get(i + n, ()) == theirs.get(j + n) for n in range(1, AGREED)
        ):
            return i, j
    return None


def _tokens(encoding: Encoding, distance: int) -> dict[int, tuple[int, int, int]]:
    """Ids and characters, counted from ``distance``, of the tokens that begin in the overlap."""
    ids, found = encoding.ids, {}
    near = range(len(ids)) if distance == 0 else reversed(range(len(ids)))
    for i in near:
        begin, end = (at - distance for at in encoding.token_to_chars(i) or (0, 0))
        if not 0 <= begin < OVERLAP:
            break
        found[i] = (ids[i], begin, end)
    return dict(sorted(found.items()))
