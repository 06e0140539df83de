"""Texts that repeat what was read, and texts that do not: what speculation is measured on.

Made from the unseen part of Jane Austen's novels that the package ships (public domain). What they
are: prompts, each with the one continuation that an exact writer gives. What they are not: answers
of a model. How often a model writes so depends on the model; small ones seldom do. "copy" is the
passage again with one name replaced, "list" a numbered list of sentences that goes on in the same
form, "quotation" some sentences from the middle of the passage, and "open" what comes next in the
novel, where nothing is repeated on purpose.
"""

import re
from dataclasses import dataclass

import numpy as np

from lightmamba.model.data import austen

__all__ = ["KINDS", "Case", "cases"]

KINDS = ("copy", "list", "quotation", "open")
WORDS = 110  # of a passage
NAMES = ("Mr. Blackwood", "Miss Ashdown", "Mrs. Fairleigh", "Colonel Harte")


@dataclass(frozen=True)
class Case:
    """A prompt and how it goes on."""

    kind: str
    prompt: str
    continuation: str


def _sentences(text: str) -> list[str]:
    """Whole sentences on one line each."""
    plain = re.sub(r"\s+", " ", text)
    found = re.split(r"(?<=[.!?])[\"'”]? (?=[A-Z\"“])", plain)
    return [one.strip() for one in found if 30 < len(one) < 300]


def _passage(sentences: list[str], at: int) -> tuple[list[str], int]:
    """Sentences of about ``WORDS`` words from ``at`` on, and where the next ones begin."""
    end, words = at, 0
    while words < WORDS:
        words += len(sentences[end].split())
        end += 1
    return sentences[at:end], end


def cases(count: int, seed: int = 0) -> list[Case]:
    """``count`` cases of each kind, always the same for a seed."""
    sentences, rng = _sentences(austen()[2]), np.random.default_rng(seed)
    found = []
    for n in range(count):
        at = int(rng.integers(len(sentences) - 100))
        passage, after = _passage(sentences, at)
        text = " ".join(passage)
        names = re.findall(r"\b(?:Mr|Mrs|Miss|Sir|Lady|Captain|Colonel)\b\.? [A-Z]\w+", text)
        old = names[0] if names else passage[0].split()[-1]
        new = NAMES[n % len(NAMES)]
        found.append(Case(
            "copy", f"{text}\n\nThe same, with {new} in the place of {old}:\n\n",
            text.replace(old, new),
        ))  # fmt: skip
        items = [f"{i + 1}. Sentence {i + 1} of the chapter: {s}\n" for i, s in
                 enumerate(sentences[at : at + 12])]  # fmt: skip
        found.append(Case("list", "".join(items[:6]), "".join(items[6:])))
        middle = passage[len(passage) // 3 :]
        found.append(Case(
            "quotation", f"{text}\n\nShe read the end of it aloud once more: \"", " ".join(middle),
        ))  # fmt: skip
        following, _ = _passage(sentences, after)
        found.append(Case("open", text + " ", " ".join(following)))
    return sorted(found, key=lambda case: KINDS.index(case.kind))
