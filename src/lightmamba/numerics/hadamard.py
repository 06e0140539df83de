"""Hadamard matrices of many orders, and the fast transforms, for floats and integers alike.

Constructions: Sylvester's doubling; Paley I for order q + 1 with a prime power q ≡ 3 mod 4 and
Paley II for order 2(q + 1) with q ≡ 1 mod 4 (Paley 1933; Horadam, "Hadamard Matrices and Their
Applications", chapter 2). Only prime q are built: they give 12, 20, 24, 28, 36, 44, 60, ...
"""

from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["fast_hadamard", "hadamard", "has_hadamard", "random_rotation"]

T = TypeVar("T", bound=np.generic)


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def _jacobsthal(q: int) -> NDArray[np.int64]:
    squares = {(i * i) % q for i in range(1, q)}
    character = np.array([0] + [1 if i in squares else -1 for i in range(1, q)], dtype=np.int64)
    matrix: NDArray[np.int64] = character[(np.arange(q)[:, None] - np.arange(q)[None]) % q]
    return matrix


@lru_cache
def _core(order: int) -> NDArray[np.int64] | None:
    """Paley matrix of this order, or None; that of order 1 is 1."""
    if order == 1:
        return np.ones((1, 1), dtype=np.int64)
    q = order - 1
    if q % 4 == 3 and _is_prime(q):
        skew = np.zeros((order, order), dtype=np.int64)
        skew[0, 1:], skew[1:, 0] = 1, -1
        skew[1:, 1:] = _jacobsthal(q)
        return skew + np.eye(order, dtype=np.int64)
    q = order // 2 - 1
    if order % 4 == 0 and q % 4 == 1 and _is_prime(q):
        symmetric = np.zeros((q + 1, q + 1), dtype=np.int64)
        symmetric[0, 1:], symmetric[1:, 0] = 1, 1
        symmetric[1:, 1:] = _jacobsthal(q)
        plus, minus = np.array([[1, 1], [1, -1]]), np.array([[1, -1], [-1, -1]])
        return np.kron(symmetric, plus) + np.kron(np.eye(q + 1, dtype=np.int64), minus)
    return None


@lru_cache
def _split(order: int) -> tuple[NDArray[np.int64], int] | None:
    """(core, power) with order = len(core) * power, the smallest core that has a matrix."""
    if order < 1:
        return None
    size = order
    while size % 2 == 0:
        size //= 2
    while size <= order:
        core = _core(size)
        if core is not None:
            return core, order // size
        size *= 2
    return None


def has_hadamard(order: int) -> bool:
    """Tell whether :func:`hadamard` can build this order."""
    return _split(order) is not None


def hadamard(order: int) -> NDArray[np.int64]:
    """Matrix of ±1 with H·Hᵀ = order·I.

    Raises
    ------
    ValueError
        If neither construction reaches the order; the sentence names the nearest that one does.
    """
    split = _split(order)
    if split is None:
        near = next(n for n in range(max(order, 1), 2 * max(order, 1) + 1) if has_hadamard(n))
        raise ValueError(f"no Hadamard matrix of order {order} is built here; try {near}")
    core, power = split
    matrix = np.ones((1, 1), dtype=np.int64)
    while len(matrix) < power:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    whole: NDArray[np.int64] = np.kron(core, matrix)
    return whole


def fast_hadamard(x: NDArray[T], order: int) -> NDArray[T]:
    """Multiply each run of ``order`` along the last axis by H, without normalization.

    Integers grow by log2(order) bits, rounded up; the caller declares the width.
    """
    split = _split(order)
    if split is None or x.shape[-1] % order:
        raise ValueError(f"a last axis of {x.shape[-1]} has no Hadamard transform of {order}")
    core, power = split
    y: NDArray[Any] = x.reshape(*x.shape[:-1], -1, len(core), power)
    half = 1
    while half < power:
        pairs = y.reshape(*y.shape[:-1], -1, 2, half)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        y = np.stack([first + second, first - second], axis=-2).reshape(y.shape)
        half *= 2
    if len(core) > 1:
        y = np.einsum("ij,...jk->...ik", core.astype(x.dtype), y)
    return y.reshape(x.shape)


def random_rotation(order: int, seed: int) -> NDArray[np.float64]:
    """Orthogonal matrix: a Hadamard matrix with random signs, or a random one where there is none.

    ``R[i, j]`` maps channel i to rotated channel j: rotated = x @ R.
    """
    rng = np.random.default_rng(seed)
    if has_hadamard(order):
        signs = rng.choice([-1.0, 1.0], order)
        rotation: NDArray[np.float64] = signs[:, None] * hadamard(order).T / np.sqrt(order)
    else:
        q, r = np.linalg.qr(rng.standard_normal((order, order)))
        rotation = q * np.sign(np.diag(r))
    return rotation
