"""Rotation of the residual stream: a Hadamard matrix with random signs, adapted to the model.

Learned rotations: Liu et al., SpinQuant, arXiv 2405.16406, there by the loss of the whole model.
Here the peaks of the projections' inputs are what is learned from, and only runs of channels are
turned, so that it takes a small part of a run.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.numerics.hadamard import hadamard, has_hadamard, random_rotation

__all__ = ["KEPT", "TOKENS", "Adam", "Rotation", "wide"]

SYLVESTER = 64  # order up to which a factor of a Hadamard matrix is applied at once
SIZE = 128  # channels that are turned together, at most
TOKENS = 64  # of every layer in a step
KEPT = 1 << 25  # values of all layers' inputs that are learned from, at most
RATE = 0.01  # of Adam, falling to zero
BETAS, EPS = (0.9, 0.999), 1e-8
TINY = 1e-30  # keeps the gradient of a block of zeros finite


def wide(x: Tensor) -> Tensor:
    """In float64, or in float32 on a device that has no float64."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


@dataclass(frozen=True)
class Rotation:
    """Orthogonal R as signs and a Kronecker product, which takes few operations to apply."""

    signs: Tensor  # (order,)
    factors: tuple[Tensor, ...]  # their Kronecker product, transposed, is R after the signs
    blocks: Tensor | None = None  # (order / size, size, size), of the channels after that

    @staticmethod
    def random(order: int, seed: int) -> "Rotation":
        """Rotation of :func:`~lightmamba.numerics.hadamard.random_rotation`."""
        if not has_hadamard(order):
            return Rotation.dense(random_rotation(order, seed))
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], order)
        sizes, core = [], order
        while core % 2 == 0 and has_hadamard(core // 2):
            core //= 2
        left = order // core
        while left > 1:
            sizes.append(min(left, SYLVESTER))
            left //= sizes[-1]
        factors = [hadamard(size) / np.sqrt(size) for size in (core, *sizes)]
        return Rotation(torch.from_numpy(signs), tuple(torch.from_numpy(m) for m in factors))

    @staticmethod
    def dense(matrix: NDArray[np.float64]) -> "Rotation":
        """Any orthogonal matrix: rotated = x @ matrix."""
        one = torch.ones(len(matrix), dtype=torch.float64)
        return Rotation(one, (torch.from_numpy(np.ascontiguousarray(matrix.T)),))

    def __call__(self, x: Tensor) -> Tensor:
        """x @ R, in float64, in the type of ``x``."""
        y = wide(x)
        y = y * self.signs.to(y.dtype).to(y.device)
        y = y.unflatten(-1, tuple(len(m) for m in self.factors))
        lead = x.ndim - 1
        for axis, matrix in enumerate(self.factors, lead):
            y = (y.movedim(axis, -1) @ matrix.T.to(y.dtype).to(y.device)).movedim(-1, axis)
        y = y.flatten(lead)
        if self.blocks is not None:
            y = _by_blocks(y, self.blocks.to(y.dtype).to(y.device))
        turned: Tensor = y.to(x.dtype)
        return turned

    @property
    def runs(self) -> tuple[int, int]:
        """Runs of channels that :meth:`learned` turns, and channels of each."""
        order = len(self.signs)
        size = math.gcd(order, SIZE)
        return order // size, size

    def learned(self, x: Tensor, *, block: int, steps: int, seed: int) -> "Rotation":
        """The rotation, then one of each run of channels that flattens the peaks of its blocks.

        A block of activations has the scale of its largest value, so its error grows with the ratio
        of that to the root mean square. The sum of eighth powers takes the place of the maximum.

        Parameters
        ----------
        x : (layers, tokens, order)
            Inputs of the projections, in the basis of this rotation.
        block : int
            Channels that share a scale.
        steps : int
            Of gradient descent, each on :data:`TOKENS` tokens of every layer.
        seed : int
            Of the choice of tokens.
        """
        runs, size = self.runs
        turn = torch.zeros(runs, size, size, device=x.device)
        adam, chosen = Adam(turn), torch.Generator().manual_seed(seed)
        for step in range(steps):
            rows = torch.randint(x.shape[1], (TOKENS,), generator=chosen)
            seen = x[:, rows.to(x.device)].float()
            with torch.enable_grad():
                free = turn.detach().requires_grad_()
                loss = _peaks(_by_blocks(seen, _orthogonal(free)), block)
                (gradient,) = torch.autograd.grad(loss, free)
            adam.step(gradient, RATE * (1 - step / steps))
        return replace(self, blocks=_orthogonal(wide(turn)))


class Adam:
    """Adam (arXiv 1412.6980); that of torch imports a second and 150 MB of compilers first."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.mean, self.square = x, torch.zeros_like(x), torch.zeros_like(x)
        self.steps = 0

    def step(self, gradient: Tensor, rate: float) -> None:
        """Move ``x`` in place."""
        (first, second), self.steps = BETAS, self.steps + 1
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = self.square.sqrt() / (1 - second**self.steps) ** 0.5
        rate /= 1 - first**self.steps
        self.x.addcdiv_(self.mean, root.add_(EPS), value=-rate)


def _orthogonal(x: Tensor) -> Tensor:
    """Orthogonal matrices (runs, size, size) of any others: Cayley transform of x - xᵀ."""
    skew, one = (x - x.mT) / 2, torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    turned: Tensor = torch.linalg.solve(one + skew, one - skew)
    return turned


def _by_blocks(x: Tensor, matrices: Tensor) -> Tensor:
    """Turn each run of channels of (..., order) by its matrix, (runs, size, size)."""
    runs = x.unflatten(-1, matrices.shape[:2])
    return torch.einsum("...gi,gij->...gj", runs, matrices).flatten(-2)


def _peaks(x: Tensor, block: int) -> Tensor:
    """Sum of the blocks' largest squares over the energy of (layers, tokens, order), mean."""
    padded = torch.nn.functional.pad(x, (0, -x.shape[-1] % block))
    squares = padded.unflatten(-1, (-1, block)).square()
    largest = (squares.square().square().sum(-1) + TINY).sqrt().sqrt()
    found: Tensor = (largest.sum((1, 2)) / (squares.sum((1, 2, 3)) + TINY)).mean()
    return found
