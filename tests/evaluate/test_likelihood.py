"""Perplexity against look-up tables, and the refusals."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lightmamba.errors import InputError
from lightmamba.evaluate import model as model_module
from lightmamba.evaluate import perplexity
from lightmamba.evaluate.sweep import Windows, standard_error

from .fakes import VOCAB, TableModel, random_ids


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
    assert_allclose(result.nll, -np.array(slow), rtol=1e-12)
    assert result.tokens == len(slow)
    assert math.isclose(result.perplexity, math.exp(-np.mean(slow)), rel_tol=1e-12)


def test_a_model_that_knows_nothing():
    """Every token costs log2(vocabulary) bits, the padding takes no share, nothing varies."""
    model = TableModel.memoryless(np.full(8, 1 / 8))
    result = perplexity(model, random_ids(0, 300, 8), window=100, text_bytes=1000)
    assert math.isclose(result.perplexity, 8)
    assert result.bits_per_byte == pytest.approx(3 * 297 / 1000)
    assert result.standard_error < 1e-12


def test_without_text_there_are_no_bytes():
    assert perplexity(TableModel.random(0), random_ids(0, 9)).bits_per_byte is None


def test_one_token_alone_scores_nothing():
    model, ids = TableModel.random(0), random_ids(1, 41)
    assert_array_equal(
        perplexity(model, ids, window=20).nll, perplexity(model, ids[:40], window=20).nll
    )


def test_long_windows_are_read_in_pieces(monkeypatch):
    model, ids = TableModel.random(0), random_ids(1, 1024)
    whole = perplexity(model, ids, window=512)
    assert max(seqlen for _, seqlen in model.shapes) == model_module.PIECE
    model.shapes.clear()
    monkeypatch.setattr(model_module, "LOGITS_HELD", 2 * model.vocab_size * 10)
    assert_array_equal(perplexity(model, ids, window=512).nll, whole.nll)
    assert set(model.shapes) == {(2, 10), (2, 1)}


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


def test_blocks_lie_within_windows():
    windows = Windows(random_ids(0, 610), 300, VOCAB)
    assert_array_equal(windows.blocks(), [0, 128, 256, 299, 427, 555, 598])
    assert [windows.position(scored) for scored in (0, 298, 299, 597, 598)] == [
        1,
        299,
        301,
        599,
        601,
    ]


def test_standard_error_of_two_blocks_is_half_their_distance():
    values = np.repeat([1.0, 4.0], 50)
    assert math.isclose(standard_error(values, np.array([0, 50])), 1.5)
    assert standard_error(values, np.array([0])) < 0.2  # as if every value stood for itself


def test_standard_error_covers_the_truth():
    """Of correlated values of mean 0, the mean lies within one error about two times in three."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(400, 2000))
    for t in range(1, steps.shape[1]):
        steps[:, t] += 0.9 * steps[:, t - 1]
    blocks = np.arange(0, 2000, 128)
    inside = [abs(row.mean()) < standard_error(row, blocks) for row in steps]
    assert 0.60 < np.mean(inside) < 0.74


@pytest.mark.parametrize(
    ("ids", "window", "sentence"),
    [
        (
            [0, 1, 7, 2],
            4,
            "token id 7 at position 2 is out of range; the model knows .* 0 to 6",
        ),
        ([0, 1, -1], 4, "token id -1 at position 2 is out of range"),
        ([], 4, "the text has 0 tokens, of which 0 can be scored in windows of 4"),
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
