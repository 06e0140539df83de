"""Log-probabilities against a softmax in double precision."""

import numpy as np
import pytest

from lightmamba.text.scores import scores


def test_scores_are_log_softmax():
    logits = np.random.default_rng(0).integers(-(1 << 20), 1 << 20, (3, 1000), dtype=np.int32)
    nats = logits * 2.0**-14
    nats -= nats.max(axis=1, keepdims=True)
    exact = nats - np.log(np.exp(nats).sum(axis=1, keepdims=True))
    found = scores(logits, -14, [7, 0, 999], 5)
    assert [score.token_id for score in found] == [7, 0, 999]
    for score, row in zip(found, exact, strict=True):
        assert score.logprob == pytest.approx(row[score.token_id], abs=1e-9)
        best = np.argsort(-row)[:5]
        assert [i for i, _ in score.top] == best.tolist()
        np.testing.assert_allclose([p for _, p in score.top], row[best], atol=1e-9)


def test_equal_ones_come_by_id_and_extremes_do_not_wrap():
    low, high = -(1 << 31), (1 << 31) - 1
    (found,) = scores(np.array([[low, high, 0, high, low]], dtype=np.int32), 0, [0], 5)
    assert [i for i, _ in found.top] == [1, 3, 2, 0, 4]
    assert found.top[0][1] == pytest.approx(np.log(0.5))
    assert found.logprob == low - high + np.log(0.5)


def test_more_than_there_are_and_none():
    logits = np.arange(3, dtype=np.int32)[None]
    assert [i for i, _ in scores(logits, 0, [1], 20)[0].top] == [2, 1, 0]
    assert scores(logits, 0, [1], 0)[0].top == ()
    assert scores(logits[:0], 0, [], 3) == []
