"""Long texts in parts give the ids of the whole."""

import string
from functools import cache

import numpy as np
import pytest
import tokenizers
from numpy.testing import assert_array_equal
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from lightmamba.evaluate import encode_text, encoding
from lightmamba.model.data import austen, demo_checkpoint
from lightmamba.model.tokenizer import Tokenizer

PART, OVERLAP = 3000, 500


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(encoding, "PART", PART)
    monkeypatch.setattr(encoding, "OVERLAP", OVERLAP)


@cache
def bundled():
    return Tokenizer.from_bytes((demo_checkpoint() / "tokenizer.json").read_bytes())


def trained(model, trainer, pre=None):
    inner = tokenizers.Tokenizer(model)
    inner.normalizer = normalizers.NFC()
    if pre is not None:
        inner.pre_tokenizer = pre
        inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator([austen()[0][:20_000]], trainer)
    return inner


@cache
def with_ends():
    """Byte-level BPE with an id before and two after every text."""
    inner = trained(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=["<s>", "</s>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
        pre_tokenizers.ByteLevel(add_prefix_space=True),
    )  # fmt: skip
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s> </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return Tokenizer(inner)


@cache
def without_words():
    """A unigram model over whole texts, nothing cut before: pieces may hold several words."""
    trainer = trainers.UnigramTrainer(
        vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    return Tokenizer(trained(models.Unigram(), trainer))


def random_text(seed, count, letters):
    return "".join(np.random.default_rng(seed).choice(list(letters), count))


TEXTS = {
    "novel": austen()[2][:40_000],
    "bytes": random_text(0, 20_000, "é日🙂 a\u0301\n"),
    "blanks": random_text(1, 20_000, "    \n\n\tx"),
    "signs": random_text(2, 20_000, string.printable),
    "one word": random_text(3, 20_000, "ab"),
    "the same": "la " * 7_000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("make", [bundled, with_ends, without_words])
def test_equal_to_the_whole(make, text):
    tokenizer = make()
    assert_array_equal(encode_text(tokenizer, text), tokenizer.encode(text))


@pytest.mark.parametrize(
    "length", [1, PART, PART + 1, PART + OVERLAP, PART + OVERLAP + 1, 2 * PART]
)
def test_lengths(length):
    tokenizer, text = with_ends(), TEXTS["novel"][:length]
    assert_array_equal(encode_text(tokenizer, text), tokenizer.encode(text))


def test_long_texts_are_cut(monkeypatch):
    """No part is longer than it must be, and the bar moves from part to part."""
    tokenizer, text, sizes, seen = bundled(), TEXTS["novel"], [], []
    whole = tokenizer.encoding

    def watched(part, **options):
        sizes.append(len(part))
        return whole(part, **options)

    monkeypatch.setattr(tokenizer, "encoding", watched)
    ids = encode_text(tokenizer, text, progress=lambda *step: seen.append(step))
    assert ids.dtype == np.int32
    assert max(sizes) == PART + OVERLAP
    assert len(sizes) < 2 + len(text) / PART + 2
    assert seen[0] == (PART, len(text))
    assert seen[-1] == (len(text), len(text))


def test_a_few_equal_tokens_are_no_seam():
    """Where a tokenizer treats the beginning of a text in its own way, parts agree only later."""
    words = trained(
        models.WordLevel(unk_token="?"),
        trainers.WordLevelTrainer(special_tokens=["?"], show_progress=False),
        pre_tokenizers.Split(tokenizers.Regex(r"(?<=\A.{12}).{60}|\w+|\s|."), "isolated"),
    )
    tokenizer, text = Tokenizer(words), TEXTS["novel"].replace("\n", " ")
    assert_array_equal(encode_text(tokenizer, text), tokenizer.encode(text))


def test_a_part_without_a_seam_grows(monkeypatch):
    """A token that spans the whole overlap, as of a word without an end."""
    tokenizer = Tokenizer(tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")))
    inner = tokenizer._inner
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    text = "x" * (5 * PART) + " y" * PART
    assert_array_equal(encode_text(tokenizer, text), tokenizer.encode(text))
