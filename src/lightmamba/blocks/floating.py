"""Base of the float mixers of all kinds (torch)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmamba.blocks.layer import Sizes
from lightmamba.numerics.formats import HEADROOM_16, exponent_for

__all__ = ["BaseMixer", "Cache", "NoCache", "numpy64", "rms_norm", "row_exponents"]


class Cache(Protocol):
    """State of a sequence in one layer."""

    def take(self, rows: Tensor) -> "Cache":
        """Copy of the sequences ``rows``, in this order; one may come several times."""

    def values(self) -> Tensor:
        """Values that are stored in quantized form, (batch, values)."""


@dataclass(frozen=True)
class NoCache:
    """A layer that keeps nothing."""

    batch: int

    def take(self, rows: Tensor) -> "NoCache":
        """Copy for the sequences ``rows``."""
        return NoCache(len(rows))

    def values(self) -> Tensor:
        """No values, (batch, 0)."""
        return torch.zeros(self.batch, 0)


def numpy64(tensor: Tensor) -> NDArray[np.float64]:
    """Float64 copy of a tensor."""
    return tensor.detach().cpu().double().numpy()


def row_exponents(sizes: Sizes, seen: Mapping[str, NDArray[np.float64]]) -> dict[str, int]:
    """Exponent of the int16 rows of each section of in_proj, by their largest magnitudes."""
    return {
        name: exponent_for(float(seen["rows"][part].max()), 16, HEADROOM_16)
        for name, part in sizes.sections().items()
    }


def rms_norm(x: Tensor, weight: Tensor, eps: float, groups: int = 1) -> Tensor:
    """Divide (..., channels) by its root mean square, one per group, and scale by ``weight``."""
    grouped = x.unflatten(-1, (groups, -1))
    scaled: Tensor = grouped * torch.rsqrt(grouped.square().mean(-1, keepdim=True) + eps)
    return scaled.flatten(-2) * weight


class BaseMixer(nn.Module):
    """A projection, what the kind does, a projection back.

    Parameters
    ----------
    sizes : Sizes
        Of the kind.
    d_model : int
        Channels of the residual stream.

    Attributes
    ----------
    norm : Parameter or None
        Weight of a norm in front of ``out_proj``, (out_dim,), where the kind has one.
    before_out
        An online transform in front of ``out_proj``, set by the quantizer.
    observe
        Sees the values on the way.
    """

    def __init__(self, sizes: Any, d_model: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.norm: Any  # Parameter or None
        self.register_parameter("norm", None)
        self.in_proj = nn.Linear(d_model, sizes.in_rows, bias=False)
        self.before_out: nn.Module = nn.Identity()
        self.observe: Callable[[str, Tensor], None] | None = None
        self.out_proj = nn.Linear(sizes.out_dim, d_model, bias=False)

    def initialize(self, generator: torch.Generator) -> None:
        """Uniform weights of the usual size."""
        for weight in (self.in_proj.weight, self.out_proj.weight):
            edge = 1 / math.sqrt(weight.shape[1])
            weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * edge)

    @property
    def entering(self) -> tuple[nn.Linear, ...]:
        """Projections of the residual stream."""
        return (self.in_proj,)

    def step(self, u: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Map one token (batch, d_model), the form that a decoder runs."""
        out, cache = self(u[:, None], cache)
        return out[:, 0], cache

    def _see(self, name: str, value: Tensor) -> Tensor:
        if self.observe is not None:
            self.observe(name, value)
        return value

    def scale_rows(self, rows: slice, factor: Tensor) -> None:
        """Multiply rows of in_proj, and their bias if there is one, by a factor each."""
        weight, bias = self.in_proj.weight, self.in_proj.bias
        weight.data[rows] = (weight.data[rows] * factor[:, None]).to(weight.dtype)
        if bias is not None:
            bias.data[rows] = (bias.data[rows] * factor).to(bias.dtype)

    def divide_output(self, scale: Tensor) -> Tensor:
        """Divide the input of out_proj by ``scale`` (out_dim,); what it was divided by."""
        self.norm.data = (self.norm.data / scale).to(self.norm.dtype)
        return scale

    def begin(self, u: Tensor) -> Tensor:
        """Rows of in_proj, (..., in_rows), of (..., d_model)."""
        return self._see("rows", self.in_proj(self._see("in_proj.input", u)))

    def finish(self, y: Tensor) -> Tensor:
        """Output of the layer, (..., d_model), of (..., out_dim)."""
        out: Tensor = self.out_proj(self._see("out_proj.input", self.before_out(y)))
        return out
