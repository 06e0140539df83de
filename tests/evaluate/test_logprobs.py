"""Log-probabilities against plain sums in float64, with integer and with float logits."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lightmamba.evaluate.logprobs import likelihoods, paired

VALID, PADDED = 1000, 1024


def model(exponent=0, valid=VALID):
    return SimpleNamespace(valid_vocab=valid, vocab_size=PADDED, logit_exponent=exponent)


def plain(logits, exponent):
    """Log-probabilities of one row after the other."""
    rows = []
    for row in np.asarray(logits, np.float64)[:, :VALID] * 2.0**exponent:
        largest = row.max()
        total = math.fsum(np.exp(row - largest))
        rows.append(row - largest - math.log(total))
    return np.array(rows)


def cases():
    rng = np.random.default_rng(0)
    wide = rng.integers(-(2**31), 2**31, (150, PADDED)).astype(np.int32)
    wide[0, :2] = -(2**31), 2**31 - 1  # whose difference is no int32
    yield "all of int32", wide, -24
    yield "the engine's", (rng.standard_normal((150, PADDED)) * 3 * 2**16).astype(np.int32), -16
    yield "floats", rng.standard_normal((150, PADDED)).astype(np.float32) * 4, 0
    yield "doubles", rng.standard_normal((150, PADDED)) * 40, 0


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("logits", "exponent"), [pytest.param(*c[1:], id=c[0]) for c in cases()])
def test_equals_the_plain_sums(logits, exponent, threads):
    targets = np.random.default_rng(1).integers(0, VALID, len(logits))
    logits[:, VALID:] = logits.max()  # padding takes no share
    got = likelihoods(model(exponent), logits, targets, threads=threads)
    want = plain(logits, exponent)
    assert_allclose(got.nll, -want[np.arange(len(logits)), targets], rtol=1e-12, atol=1e-13)
    assert_array_equal(got.likeliest, want.argmax(axis=1))


def test_some_rows_only():
    logits = np.random.default_rng(0).integers(-99, 99, (200, PADDED)).astype(np.int32)
    rows = np.array([3, 77, 78, 199])
    targets = np.array([5, 0, 999, 1])
    whole = likelihoods(model(-4), logits[rows], targets)
    some = likelihoods(model(-4), logits, targets, rows)
    assert_array_equal(some.nll, whole.nll)
    assert_array_equal(some.likeliest, whole.likeliest)


@pytest.mark.parametrize("threads", [1, 3])
def test_divergence(threads):
    rng = np.random.default_rng(0)
    floats = (rng.standard_normal((150, PADDED)) * 4).astype(np.float32)
    integers = np.rint((floats + rng.standard_normal(floats.shape) * 0.02) * 2**16).astype(np.int32)
    floats[7, 3] = -np.inf
    integers[:, VALID:] = 2**30
    targets = rng.integers(10, VALID, 150)
    got = paired((model(-16), model()), (integers, floats), targets, threads=threads)
    q = plain(integers, -16)
    with np.errstate(divide="ignore"):
        p = plain(floats, 0)
    terms = np.where(p > -np.inf, np.exp(p) * (np.where(p > -np.inf, p, 0) - q), 0)
    assert_allclose(got.kl, [math.fsum(row) for row in terms], rtol=1e-9)
    assert 0 < got.kl.max() < 1e-3
    for half, logits, exponent in ((got.model, integers, -16), (got.reference, floats, 0)):
        alone = likelihoods(model(exponent), logits, targets)
        assert_array_equal(half.nll, alone.nll)
        assert_array_equal(half.likeliest, alone.likeliest)


def test_nothing_is_hidden():
    """NaN stays, and what only the reference finds possible is infinitely far."""
    floats = np.zeros((2, PADDED))
    floats[0, 5] = np.nan
    got = paired((model(), model()), (np.zeros((2, PADDED)), floats), np.array([1, 1]))
    assert np.isnan(got.reference.nll[0])
    assert np.isnan(got.kl[0])
    assert got.kl[1] == 0
    impossible = np.zeros((1, PADDED))
    impossible[0, 9] = -np.inf
    far = paired((model(), model()), (impossible, np.zeros((1, PADDED))), np.array([1]))
    assert far.kl[0] == np.inf
