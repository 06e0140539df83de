"""Sums over blocks, and the errors of means."""

import json
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lightmamba.evaluate.blocks import BLOCK, BlockSums


def test_blocks_lie_within_sequences():
    values = np.random.default_rng(0).normal(3, 2, (2, 299))
    sums = BlockSums.of(values)
    assert_array_equal(sums.sizes, [128, 128, 43, 128, 128, 43])
    cut = [part for row in values for part in np.split(row, [128, 256])]
    assert_allclose(sums.sums, [part.sum() for part in cut], rtol=1e-13)
    assert_allclose(sums.spreads, [part.var() * len(part) for part in cut], rtol=1e-12)
    assert sums.count == 598
    assert math.isclose(sums.mean, values.mean(), rel_tol=1e-13)


def test_joined_and_written_down():
    one, two = (BlockSums.of(np.random.default_rng(i).normal(size=(i, 200))) for i in (1, 2))
    both = BlockSums.join([one, two])
    assert (both.count, len(both.sums)) == (600, 6)
    again = BlockSums.from_plain(json.loads(json.dumps(both.plain())))
    for name, values in vars(both).items():
        assert_array_equal(getattr(again, name), values)


def test_standard_error_of_two_blocks_is_half_their_distance():
    values = np.repeat([1.0, 4.0], 50)
    assert math.isclose(BlockSums.of(values.reshape(2, 50)).standard_error(), 1.5)


@pytest.mark.parametrize("count", [2, 100, BLOCK])
def test_of_one_block_every_value_stands_for_itself(count):
    values = np.random.default_rng(0).normal(size=(1, count))
    want = values.std(ddof=1) / math.sqrt(count)
    assert math.isclose(BlockSums.of(values).standard_error(), want)
    with pytest.raises(ValueError, match="one value has no standard error"):
        BlockSums.of(values[:, :1]).standard_error()


def test_standard_error_covers_the_truth():
    """Of correlated values of mean 0, the mean lies within one error about two times in three."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(400, 2000))
    for t in range(1, steps.shape[1]):
        steps[:, t] += 0.9 * steps[:, t - 1]
    inside = [abs(row.mean()) < BlockSums.of(row[None]).standard_error() for row in steps]
    assert 0.60 < np.mean(inside) < 0.74
