"""Perplexity against look-up tables, and the refusals."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lightmamba.common.errors import InputError
from lightmamba.evaluate import compare, perplexity
from lightmamba.evaluate import model as model_module

from .fakes import TableModel, WideModel, peak, random_ids


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize(("count", "window"), [(700, 150), (150, 150), (90, 1024), (23, 2), (8, 3)])
def test_every_token_after_a_windows_first_is_scored(count, window, batch):
    model, ids = TableModel.random(0), random_ids(1, count)
    slow = [
        value
        for start in range(0, count, window)
        for value in model.log_probability(ids[start : start + window])
    ]
    result = perplexity(model, ids, window=window, batch=batch)
    blocks = [
        math.fsum(slow[start + first : min(start + first + 128, start + window - 1)])
        for start in range(0, len(slow), window - 1)
        for first in range(0, min(window - 1, len(slow) - start), 128)
    ]
    assert_allclose(result.nll.sums, -np.array(blocks), rtol=1e-12)
    assert result.nll.count == len(slow)
    assert result.tokens == len(slow)
    assert math.isclose(result.perplexity, math.exp(-np.mean(slow)), rel_tol=1e-12)


def test_a_model_that_knows_nothing():
    """Every token costs log2(vocabulary) bits, the padding takes no share, nothing varies."""
    model = TableModel.memoryless(np.full(8, 1 / 8))
    result = perplexity(model, random_ids(0, 300, 8), window=100, text_bytes=1000)
    assert math.isclose(result.perplexity, 8)
    assert result.bits_per_byte == pytest.approx(3 * 297 / 1000)
    assert result.standard_error < 1e-12


def test_long_windows_are_read_in_pieces(monkeypatch):
    """256 tokens at once in all, of as many windows as make pieces of 64; fewer if logits do."""
    model, ids = TableModel.random(0), random_ids(1, 8 * 512)
    whole = perplexity(model, ids, window=512)
    assert set(model.shapes) == {(4, 64, False), (4, 63, False)}
    model.shapes.clear()
    one = perplexity(model, ids, window=512, batch=1)
    assert set(model.shapes) == {(1, 256, False), (1, 255, False)}
    model.shapes.clear()
    monkeypatch.setattr(model_module, "LOGITS_HELD", 4 * model.vocab_size * 10)
    less = perplexity(model, ids, window=512)
    assert set(model.shapes) == {(4, 10, False), (4, 1, False)}
    assert_array_equal(one.nll.sums, whole.nll.sums)
    assert_array_equal(less.nll.sums, whole.nll.sums)


def test_progress_counts_scored_tokens_up_to_the_last():
    seen = []
    perplexity(
        TableModel.random(0),
        random_ids(1, 90),
        window=20,
        batch=2,
        progress=lambda *step: seen.append(step),
    )
    assert seen == [(38, 85), (76, 85), (85, 85)]


@pytest.mark.parametrize("both", [False, True])
def test_memory_does_not_grow_with_the_text(both):
    """Of eight times the text: its ids, some numbers per block, never two pieces of logits."""
    model = WideModel(1 << 14)

    def held(tokens):
        ids = np.random.default_rng(0).integers(0, model.valid_vocab, tokens).astype(np.int32)
        if both:
            return peak(lambda: compare(model, WideModel(1 << 14), ids, window=256))
        return peak(lambda: perplexity(model, ids, window=256))

    piece = 256 * model.vocab_size * 4
    first, last = held(1024), held(1024 * 8)
    assert last - first < 8 * 1024 * 8
    assert last < (2 if both else 1) * piece + 4e6


@pytest.mark.parametrize(
    ("ids", "window", "sentence"),
    [
        (
            [0, 1, 7, 2],
            4,
            "token id 7 at position 2 is out of range; the model knows .* 0 to 6",
        ),
        ([0, 1, -1], 4, "token id -1 at position 2 is out of range"),
        ([1, 2], 4, "the text has 2 tokens, of which 1 can be scored"),
        ([1, 2, 3], 1, "a window must have at least 2 tokens, for example 1024, not 1"),
        ([0.5, 1.0, 2.0], 4, "token ids must be one sequence of whole numbers"),
        ([[0, 1], [2, 3]], 4, "token ids must be one sequence of whole numbers"),
    ],
)
def test_bad_texts_are_refused(ids, window, sentence):
    with pytest.raises(InputError, match=sentence):
        perplexity(TableModel.random(0), ids, window=window)


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match="the batch must be at least 1"):
        perplexity(TableModel.random(0), [1, 2, 3], batch=0)
    with pytest.raises(InputError, match="the text must have at least 1 byte, not 0"):
        perplexity(TableModel.random(0), [1, 2, 3], text_bytes=0)


def test_a_broken_model_is_named():
    model, ids = TableModel.random(0), np.zeros(50, np.int64)
    model.table[0, 0, 3] = np.nan
    with pytest.raises(InputError, match="the token at position 2 no finite log-probability"):
        perplexity(model, ids)
    model.table[...] = 0
    model.table[..., 1] = 1e4
    with pytest.raises(InputError, match="the text costs the model 10000 nats per token"):
        perplexity(model, ids)
