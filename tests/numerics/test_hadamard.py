"""Hadamard matrices: orthogonality is the whole definition, so it is the whole witness."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lightmamba.numerics.hadamard import fast_hadamard, hadamard, has_hadamard, random_rotation

PRIMES = [p for p in range(2, 400) if all(p % d for d in range(2, p))]
PALEY_1 = {q + 1 for q in PRIMES if q % 4 == 3}
PALEY_2 = {2 * (q + 1) for q in PRIMES if q % 4 == 1}
REACHED = sorted(
    n << k for n in {1} | PALEY_1 | PALEY_2 for k in range(9) if n << k <= 400
)  # repeats do no harm


def test_worked_matrices():
    assert hadamard(1).tolist() == [[1]]
    assert hadamard(2).tolist() == [[1, 1], [1, -1]]
    assert hadamard(4)[3].tolist() == [1, -1, -1, 1]
    # Paley I over the squares 1, 3, 4, 5, 9 modulo 11
    assert hadamard(12)[0].tolist() == [1] * 12
    assert hadamard(12)[1].tolist() == [-1, 1, -1, 1, -1, -1, -1, 1, 1, 1, -1, 1]


def test_the_orders_reached_are_those_of_the_constructions():
    assert [n for n in range(-4, 401) if has_hadamard(n)] == sorted(set(REACHED))
    assert not has_hadamard(0)
    for order in (768, 1024, 1536, 2048, 2560, 4096, 5120):
        assert has_hadamard(order)


def test_every_matrix_up_to_400_is_orthogonal():
    for order in sorted(set(REACHED)):
        matrix = hadamard(order)
        assert matrix.shape == (order, order)
        assert matrix.dtype == np.int64
        assert set(np.unique(matrix)) <= {-1, 1}, order
        wide = matrix.astype(np.float32)  # sums stay below 2^24: exact
        assert_array_equal(wide @ wide.T, order * np.eye(order), err_msg=str(order))


@pytest.mark.parametrize("order", [12, 20, 44, 60])
def test_paley_1_is_skew_but_for_its_diagonal(order):
    matrix = hadamard(order)
    assert_array_equal(matrix + matrix.T, 2 * np.eye(order))


@pytest.mark.parametrize("order", [28, 36, 76])
def test_paley_2_is_symmetric(order):
    """28 and 36 come from the squares modulo 13 and 17."""
    assert order in PALEY_2 - PALEY_1
    matrix = hadamard(order)
    assert_array_equal(matrix, matrix.T)


@pytest.mark.parametrize("order", [1, 2, 8, 12, 20, 24, 28, 36, 40, 56, 128, 192, 360, 384])
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.float64])
def test_the_fast_transform_is_the_matrix(order, kind):
    rng = np.random.default_rng(order)
    x = rng.integers(-1000, 1000, (2, 3, 2 * order)).astype(kind)
    got = fast_hadamard(x, order)
    want = np.concatenate([half @ hadamard(order).T for half in np.split(x, 2, axis=-1)], axis=-1)
    assert got.dtype == kind
    assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("order", "core"), [(768, 12), (1536, 12), (2560, 20), (5120, 20), (1024, 1), (3584, 28)]
)
def test_large_orders_by_their_factors(order, core):
    """H = core ⊗ Sylvester, and Σy² = order·Σx² exactly."""
    x = np.random.default_rng(order).integers(-(1 << 23), 1 << 23, (2, order))
    y = fast_hadamard(x, order)
    grid = x.reshape(2, core, order // core)
    want = hadamard(core) @ grid @ hadamard(order // core).T
    assert_array_equal(y, want.reshape(2, order))
    for before, after in zip(x, y, strict=True):
        assert sum(int(v) ** 2 for v in after) == order * sum(int(v) ** 2 for v in before)


def test_orders_out_of_reach_are_refused_by_name():
    with pytest.raises(ValueError, match="no Hadamard matrix of order 92 is built here; try 96"):
        hadamard(92)
    with pytest.raises(ValueError, match="of order 3 is built here; try 4"):
        hadamard(3)
    with pytest.raises(ValueError, match="of order 0 is built here; try 1"):
        hadamard(0)
    for order in (0, -2, 3, 92, 128):
        with pytest.raises(ValueError, match=f"axis of 184 has no Hadamard transform of {order}"):
            fast_hadamard(np.zeros(184), order)


@pytest.mark.parametrize("order", [1, 12, 100, 192, 52])
def test_a_random_rotation_is_orthogonal_and_seeded(order):
    rotation = random_rotation(order, 7)
    assert_allclose(rotation @ rotation.T, np.eye(order), atol=1e-12)
    assert_array_equal(rotation, random_rotation(order, 7))
    if order > 1:
        assert (rotation != random_rotation(order, 8)).any()
    if has_hadamard(order):
        assert_allclose(np.abs(rotation), order**-0.5, rtol=1e-14)


def test_a_rotation_is_the_transform_of_a_signed_vector():
    rotation = random_rotation(24, 3)
    signs = np.sign(rotation[:, 0] * hadamard(24)[0])
    x = np.random.default_rng(0).standard_normal(24)
    assert_allclose(x @ rotation, fast_hadamard(x * signs, 24) / 24**0.5, atol=1e-14)
