"""Second moments of a projection's inputs, what factors them, and the target correction.

Sums run in float32, a triangle of them; factorizations run in float64.
"""

from itertools import pairwise

import torch
from torch import Tensor

from lightmamba.model.products import product

__all__ = ["Factor", "Moments", "correct_target"]

DAMPING = 0.01  # share of the mean diagonal added to a Hessian
STRIPES = 8  # stripes of a symmetric product, each from the diagonal on
SMALL = 256  # order of a triangle that is inverted at once


class Moments:
    """Sums over tokens: of x_q·x_qᵀ, and of what is wanted times x_qᵀ.

    Parameters
    ----------
    channels : int
        Of x_q, what the projection sees.
    outputs : int
        Length of the outputs W·x_f that are added as wanted; 0: inputs x_f are.
    like : Tensor
        Of the type and on the device of the sums.
    """

    def __init__(self, channels: int, outputs: int, like: Tensor) -> None:
        self.qq = like.new_zeros(channels, channels)  # kept from the diagonal's stripes on
        self.cross = like.new_zeros(outputs or channels, channels)
        self.outputs, self._mirrored = outputs, False

    def add(self, x_q: Tensor, wanted: Tensor) -> None:
        """Add (tokens, channels) inputs and their targets."""
        seen = x_q.T.contiguous()
        for rows in self._stripes():
            self.qq[rows, rows.start :].add_(product(seen[rows], seen[rows.start :]))
        self.cross.add_(product(wanted.T.contiguous(), seen))

    def _stripes(self) -> list[slice]:
        n = len(self.qq)
        edges = [n * i // STRIPES for i in range(STRIPES + 1)]
        return [slice(a, b) for a, b in pairwise(edges) if a < b]

    def whole(self) -> "Moments":
        """Fill in the other triangle; nothing can be added after."""
        if not self._mirrored:
            for rows in self._stripes():
                self.qq[rows.stop :, rows] = self.qq[rows, rows.stop :].T
            self._mirrored = True
        return self

    def join(self, other: "Moments") -> "Moments":
        """Take those of other tokens in, in place."""
        self.whole().qq.add_(other.whole().qq)
        self.cross.add_(other.cross)
        return self

    def wanted(self, weight: Tensor, rows: slice = slice(None)) -> Tensor:
        """Sum of W·x_f·x_qᵀ over tokens, of the rows ``weight`` of W, which ``rows`` names."""
        return self.cross[rows] if self.outputs else weight @ self.cross

    def excess(self, weight: Tensor, quantized: Tensor, rows: slice = slice(None)) -> float:
        """Squared error |W·x_f - Q·x_q|² of some rows, less the energy |W·x_f|²."""
        got = quantized @ self.qq
        got -= 2 * self.wanted(weight, rows)
        return float((got * quantized).sum(1).cpu().double().sum())


class Factor:
    """Upper U with UᵀU = (H + λI)⁻¹, λ = 1 % of H's mean diagonal where it is not zero.

    Parameters
    ----------
    qq : (channels, channels)
        H, left as it is.
    exact : bool
        Factor in float64, where the device has it; otherwise in the type of ``qq``.
    """

    def __init__(self, qq: Tensor, *, exact: bool = True) -> None:
        wide = torch.float64 if exact and qq.device.type != "mps" else qq.dtype
        self.energy = qq.diagonal().clone()
        self.dead = self.energy == 0
        live = self.energy[~self.dead].to(wide)
        h = qq.flip(0, 1).to(wide)  # from the last channel on, so that the factor comes out upper
        diagonal = h.diagonal()
        diagonal[self.dead.flip(0)] = 1
        diagonal += DAMPING * float(live.mean()) if len(live) else 1.0
        h = torch.linalg.cholesky(h)
        self.upper = _inverse_of_upper(h.flip(0, 1)).to(qq.dtype)

    def solve(self, x: Tensor) -> Tensor:
        """x·(H + λI)⁻¹ of (rows, channels)."""
        return (x @ self.upper.T) @ self.upper


def _inverse_of_upper(upper: Tensor) -> Tensor:
    """Invert in place, halves by matrix products."""
    n = len(upper)
    if n <= SMALL:
        one = torch.eye(n, dtype=upper.dtype, device=upper.device)
        upper.copy_(torch.linalg.solve_triangular(upper, one, upper=True))
        return upper
    at = n // 2
    first, last = _inverse_of_upper(upper[:at, :at]), _inverse_of_upper(upper[at:, at:])
    corner = upper[:at, at:]
    corner.copy_(-(first @ (corner @ last)))
    return upper


def correct_target(
    weight: Tensor, moments: Moments, factor: Factor, strength: float, rows: slice = slice(None)
) -> Tensor:
    """Weights whose outputs on the quantized inputs are nearest to the float outputs.

    W + c·W(X_f - X_q)X_qᵀ(X_qX_qᵀ + λ)⁻¹; c = ``strength``.

    Parameters
    ----------
    weight : (rows, channels)
        Some rows of the projection.
    moments : Moments
        Of its inputs, whole.
    factor : Factor
        Of ``moments.qq``.
    strength : float
        Share of the way that is gone.
    rows : slice
        Which rows ``weight`` are.
    """
    if strength == 0:
        return weight
    change = moments.wanted(weight, rows) - weight @ moments.qq
    return weight.add(factor.solve(change), alpha=strength)
