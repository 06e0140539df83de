"""Log-probabilities against a softmax in double precision."""

import numpy as np
import pytest

from lightmamba.runtime.scores import score


def test_scores_are_log_softmax():
    logits = np.random.default_rng(0).integers(-(1 << 20), 1 << 20, 1000, dtype=np.int32)
    nats = logits * 2.0**-14
    exact = nats - np.log(np.exp(nats - nats.max()).sum()) - nats.max()
    found = score(logits, -14, 7, 5)
    assert found.token_id == 7
    assert found.logprob == pytest.approx(exact[7], abs=1e-9)
    best = np.argsort(-exact)[:5]
    assert [i for i, _ in found.top] == best.tolist()
    np.testing.assert_allclose([p for _, p in found.top], exact[best], atol=1e-9)


def test_equal_ones_come_by_id_and_extremes_do_not_wrap():
    low, high = -(1 << 31), (1 << 31) - 1
    found = score(np.array([low, high, 0, high, low], dtype=np.int32), 0, 0, 5)
    assert [i for i, _ in found.top] == [1, 3, 2, 0, 4]
    assert found.top[0][1] == pytest.approx(np.log(0.5))
    assert found.logprob == low - high + np.log(0.5)


def test_more_than_there_are_and_none():
    logits = np.arange(3, dtype=np.int32)
    assert [i for i, _ in score(logits, 0, 1, 20).top] == [2, 1, 0]
    assert score(logits, 0, 1, 0).top == ()
