"""Two models side by side, where every answer is known."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lightmamba.common.errors import InputError
from lightmamba.evaluate import compare, perplexity

from .fakes import VOCAB, TableModel, TracedModel, random_ids


def test_a_model_equals_itself():
    model = TableModel.random(0)
    result = compare(model, TableModel.random(0), random_ids(1, 500), window=100)
    assert (result.ratio, result.ratio_standard_error) == (1, 0)
    assert (result.kl, result.kl_standard_error) == (0, 0)
    assert (result.top1_agreement, result.first_divergence) == (1, None)
    assert result.layers == ()


def test_worked_values():
    """KL(reference ‖ model) is Σ p log(p/q); each token that comes shifts the ratio by p/q."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.3, 0.5, 0.2])
    ids = np.array([2, 0, 0, 1, 2, 0])
    result = compare(TableModel.memoryless(q), TableModel.memoryless(p), ids)
    assert math.isclose(result.kl, 0.5 * math.log(0.5 / 0.3) + 0.3 * math.log(0.3 / 0.5))
    assert math.isclose(result.ratio, (5 / 3) ** ((3 - 1) / 5))  # 0 came three times, 1 once
    assert (result.top1_agreement, result.first_divergence) == (0, 1)


@pytest.mark.parametrize("batch", [1, 8])
def test_both_perplexities_are_those_of_each_alone(batch):
    model, reference, ids = TableModel.random(0), TableModel.random(1), random_ids(2, 730)
    both = compare(model, reference, ids, window=200, batch=batch, text_bytes=900)
    for got, alone in ((both.model, model), (both.reference, reference)):
        want = perplexity(alone, ids, window=200, text_bytes=900)
        assert_allclose(got.nll.sums, want.nll.sums, rtol=1e-13)
        assert got.bits_per_byte == pytest.approx(want.bits_per_byte)
        assert math.isclose(got.standard_error, want.standard_error)
    assert math.isclose(both.ratio, both.model.perplexity / both.reference.perplexity)


def test_what_both_find_hard_cancels_in_the_paired_error():
    reference, ids = TableModel.random(0), random_ids(1, 5000)
    model = TableModel(reference.table + np.random.default_rng(2).normal(0, 0.02, VOCAB))
    result = compare(model, reference, ids, window=500)
    unpaired = math.hypot(
        result.model.standard_error / result.model.perplexity,
        result.reference.standard_error / result.reference.perplexity,
    )
    assert 0 < result.ratio_standard_error < unpaired / 10


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_the_first_divergence_of_many(batch):
    model, reference, ids = TableModel.random(0), TableModel.random(0), random_ids(1, 190)
    model.table += np.random.default_rng(2).normal(0, 0.3, VOCAB)
    apart = [
        start + 1 + i
        for start in range(0, 190, 20)
        for i, pair in enumerate(
            zip(*(likeliest(m, ids[start : start + 20]) for m in (model, reference)), strict=True)
        )
        if pair[0] != pair[1]
    ]
    result = compare(model, reference, ids, window=20, batch=batch)
    assert result.first_divergence == apart[0]
    assert math.isclose(result.top1_agreement, 1 - len(apart) / 180)
    assert len({(position - 1) // 20 for position in apart}) > 3


def likeliest(model, ids):
    """Expectations of a model after each id but the last, read from the empty state."""
    befores = [model.valid_vocab, *ids[:-2]]
    return [int(model.table[b, t].argmax()) for b, t in zip(befores, ids[:-1], strict=True)]


def test_layers_of_traced_models():
    quiet = TracedModel.random(0)
    quiet.gain = 0.9
    layers = compare(quiet, TracedModel.random(0), random_ids(1, 50)).layers
    assert [layer.name for layer in layers] == ["layer.0", "layer.1"]
    assert math.isclose(layers[0].relative_error, 0.1)
    assert math.isclose(layers[0].snr_db, 20)
    assert (layers[1].relative_error, layers[1].snr_db) == (0, math.inf)


def test_traces_of_other_tensors_are_not_compared():
    other = TracedModel.random(0)
    other.trace = lambda ids: [("embedding", np.zeros((*ids.shape, 2)))] * 2
    with pytest.raises(InputError, match="layers of other kinds or sizes"):
        compare(other, TracedModel.random(0), [1, 2, 3])


def test_another_vocabulary_is_refused():
    with pytest.raises(InputError, match="the model has a vocabulary of 8, but its reference of 7"):
        compare(TableModel.random(0, vocab=8), TableModel.random(0), [1, 2, 3])
