import threading
import time

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from lightmamba.common.errors import InputError
from lightmamba.model.tokenizer import StreamDecoder, Tokenizer, check_vocab

TEXT = "It is a truth universally acknowledged; Ærøskøbing costs 3 € — 日本語, 🙂 and 🙃.\n"


def byte_level():
    """Byte-level BPE of the text above, id 0 the end of the text."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([TEXT * 3], trainer)
    return inner


def byte_fallback():
    """SentencePiece models: words with ▁, single bytes for all else."""
    vocab = {f"<0x{byte:02X}>": byte for byte in range(256)}
    vocab |= {"▁the": 256, "▁cat": 257, "▁": 258, "s": 259}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True))
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    inner.add_special_tokens(["<s>"])  # id 260
    return inner


BYTE_LEVEL = Tokenizer(byte_level())
BYTE_FALLBACK = Tokenizer(byte_fallback())


def stream(tokenizer, ids):
    decoder = StreamDecoder(tokenizer)
    return [decoder.push(token_id) for token_id in ids], decoder.finish()


def byte_id(byte):
    """Id of one byte in the byte-level vocabulary; the library's alphabet names it."""
    ids = [i for i in range(257) if BYTE_LEVEL.decode([i]).encode() == bytes([byte])]
    return ids[0]


def test_round_trip():
    ids = BYTE_LEVEL.encode(TEXT)
    assert ids.dtype == np.int64
    assert ids.ndim == 1
    assert len(ids) < len(TEXT.encode())
    assert BYTE_LEVEL.decode(ids) == TEXT
    assert BYTE_LEVEL.vocab_size == 300


def test_worked_values():
    """Id 0 is the special token, without text; a letter of the alphabet is one id."""
    a = byte_id(ord("A"))
    np.testing.assert_array_equal(BYTE_LEVEL.encode("A"), [a])
    assert BYTE_LEVEL.decode([0, a, 0, a]) == "AA"
    np.testing.assert_array_equal(BYTE_LEVEL.encode("<|endoftext|>A"), [0, a])
    np.testing.assert_array_equal(BYTE_LEVEL.encode(""), np.zeros(0, dtype=np.int64))
    assert BYTE_LEVEL.decode([]) == ""


def test_truncation_and_padding_of_the_file_are_ignored():
    inner = byte_level()
    inner.enable_truncation(4)
    inner.enable_padding(length=500)
    tokenizer = Tokenizer.from_bytes(inner.to_str().encode())
    np.testing.assert_array_equal(tokenizer.encode(TEXT), BYTE_LEVEL.encode(TEXT))


def test_special_tokens_around_a_text():
    inner = byte_level()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    tokenizer = Tokenizer(inner)
    plain = tokenizer.encode("A", add_special_tokens=False)
    np.testing.assert_array_equal(tokenizer.encode("A"), [0, *plain])


def test_vocab_size_counts_added_tokens_and_holes():
    inner = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 7}, []))
    assert Tokenizer(inner).vocab_size == 8
    inner.add_tokens([f"<{i}>" for i in range(9)])
    tokenizer = Tokenizer(inner)
    assert tokenizer.vocab_size - 1 == inner.token_to_id("<8>")
    assert tokenizer.encode("<8>")[0] == tokenizer.vocab_size - 1


@given(st.lists(st.integers(0, 299), max_size=40))
def test_stream_equals_decode(ids):
    """Any ids at all: broken characters, special tokens in between."""
    pieces, rest = stream(BYTE_LEVEL, ids)
    assert "".join(pieces) + rest == BYTE_LEVEL.decode(ids)


@given(st.text(max_size=20))
def test_stream_never_gives_half_a_character(text):
    pieces, rest = stream(BYTE_LEVEL, BYTE_LEVEL.encode(text))
    if "\ufffd" not in text:
        assert "\ufffd" not in "".join(pieces)
        assert rest == ""
    assert "".join(pieces) + rest == text


def test_stream_is_given_as_it_comes():
    """Plain words are not held back, and the window stays short."""
    decoder = StreamDecoder(BYTE_LEVEL)
    ids = BYTE_LEVEL.encode("a truth universally")
    assert [decoder.push(i) for i in ids] == [BYTE_LEVEL.decode([i]) for i in ids]
    assert len(decoder._window) == 1
    japanese = BYTE_LEVEL.encode("\u672d\u5e4c" * 50)
    assert len(japanese) > 100
    assert "".join(decoder.push(i) for i in japanese) == "\u672d\u5e4c" * 50
    assert len(decoder._window) <= 4


def test_stream_of_wordpiece():
    """A piece's text depends on what comes before it: ## joins, all else gets a space."""
    vocab = {"walk": 0, "##ing": 1, "the": 2}
    inner = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="the"))
    inner.decoder = decoders.WordPiece(cleanup=False)
    pieces, rest = stream(Tokenizer(inner), [2, 0, 1, 1, 2])
    assert (pieces, rest) == (["the", " walk", "ing", "ing", " the"], "")


@given(
    st.lists(
        st.one_of(
            st.sampled_from([[256], [257], [258], [259], [260]]),
            st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd").map(
                lambda character: list(character.encode())
            ),
        ),
        max_size=12,
    )
)
def test_stream_of_a_byte_fallback_tokenizer(parts):
    """Leading spaces are kept between words; characters spelled in bytes come whole."""
    ids = [token_id for part in parts for token_id in part]
    pieces, rest = stream(BYTE_FALLBACK, ids)
    assert "".join(pieces) + rest == BYTE_FALLBACK.decode(ids)
    assert "\ufffd" not in "".join(pieces)


def test_finish_starts_anew():
    decoder = StreamDecoder(BYTE_FALLBACK)
    assert decoder.push(256) + decoder.push(257) + decoder.finish() == "the cat"
    assert decoder.push(257) + decoder.finish() == "cat"


@pytest.mark.parametrize("data", [b"", b"not json", b"{}", b"\xff\xfe", b'{"version": "1.0"}'])
def test_not_a_tokenizer(data):
    with pytest.raises(InputError, match=r"not a tokenizer\.json.*; give the file tokenizer\.json"):
        Tokenizer.from_bytes(data)


@pytest.mark.parametrize("token_id", [-1, 300, 1 << 40])
def test_id_out_of_range(token_id):
    sentence = f"token id {token_id} is not in .*; its ids are 0 to 299"
    with pytest.raises(InputError, match=sentence):
        BYTE_LEVEL.decode([1, token_id])
    decoder = StreamDecoder(BYTE_LEVEL)
    decoder.push(byte_id(ord("A")))
    with pytest.raises(InputError, match=sentence):
        decoder.push(token_id)
    assert decoder.push(byte_id(ord("B"))) == "B"


def test_invalid_unicode():
    with pytest.raises(InputError, match="not valid Unicode at character 2"):
        BYTE_LEVEL.encode("ab\udc80")


def test_check_vocab():
    check_vocab(BYTE_LEVEL, 300)
    check_vocab(BYTE_LEVEL, 304, padding=4)
    for valid_vocab, padding in ((299, 0), (301, 0), (299, 9), (305, 4)):
        with pytest.raises(InputError, match=f"300 ids and the model {valid_vocab}, so .*; give"):
            check_vocab(BYTE_LEVEL, valid_vocab, padding=padding)


def test_other_threads_run_while_a_long_text_is_encoded():
    """A server goes on with other requests."""
    tokenizer, done, waits = Tokenizer(byte_level()), threading.Event(), []

    def encoded():
        tokenizer.encode(TEXT * 4000)
        done.set()

    thread = threading.Thread(target=encoded)
    thread.start()
    while not done.wait(0.002):
        waits.append(time.monotonic())
    thread.join()
    assert len(waits) > 5
