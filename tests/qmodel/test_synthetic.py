"""Random models: whole or layer by layer, the same."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.model.qmodel import to_bytes
from lightmamba.model.qmodel.synthetic import RandomLayers, random_model
from lightmamba.numerics.model_formats import Formats
from tests.support.builders import sizes

SMALL = sizes(d_model=64, n_layer=3)


def test_a_seed_is_a_model():
    one = to_bytes(random_model(SMALL, seed=1))
    assert one == to_bytes(random_model(SMALL, seed=1))
    assert one != to_bytes(random_model(SMALL, seed=2))


def test_lazy_layers_are_the_same():
    lazy, whole = random_model(SMALL, lazy=True), random_model(SMALL)
    assert isinstance(lazy.layers, RandomLayers)
    assert len(lazy.layers) == 3
    assert to_bytes(replace(lazy, layers=lazy.layers[:])) == to_bytes(whole)
    last = lazy.layers[-1]
    assert last is lazy.layers[2]  # kept
    np.testing.assert_array_equal(last.in_proj.q, whole.layers[2].in_proj.q)
    assert not np.array_equal(lazy.layers[0].in_proj.q, last.in_proj.q)
    with pytest.raises(IndexError):
        lazy.layers[3]


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_use_their_bits(bits):
    model = random_model(SMALL, Formats(bits, head_weight_bits=bits))
    q = model.layers[0].in_proj.q[:, :64].astype(float)
    top = (1 << (bits - 1)) - 1
    assert q.max() == pytest.approx(top, rel=0.1)
    assert q.min() < -0.9 * top
    assert abs(q.mean()) < 0.05 * q.std()
    assert q.std() == pytest.approx(top / 3, rel=0.03)
    assert not model.layers[0].in_proj.q[:, 64:].any()
