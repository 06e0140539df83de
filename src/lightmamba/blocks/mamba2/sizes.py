"""Sizes of a Mamba2 mixer, under the field's names and with the paper's letters."""

import math
from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Validated sizes.

    Raises
    ------
    ValueError
        If the sizes cannot belong together; the sentence names the field and what would be right.
    """

    kind: ClassVar[str] = "mamba2"

    nheads: int  # (H)
    headdim: int = 64  # (P)
    d_state: int = 128  # state dimension (N)
    ngroups: int = 1  # heads of one group share B and C (G)
    d_conv: int = 4  # taps of the causal convolution
    chunk_size: int = 64  # tokens per chunk of the parallel form (Q)
    conv_bias: bool = True
    eps: float = 1e-5  # of the gated norm
    dt_limit: tuple[float, float] = (0.0, math.inf)  # clamp of dt after softplus

    def __post_init__(self) -> None:
        for name in ("nheads", "headdim", "d_state", "ngroups", "chunk_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")
        if self.nheads % self.ngroups:
            raise ValueError(f"ngroups {self.ngroups} does not divide nheads {self.nheads}")
        if self.d_conv < 2:
            raise ValueError(f"d_conv must be at least 2, not {self.d_conv}")
        low, high = self.dt_limit
        if not 0.0 <= low < high:
            raise ValueError(f"dt_limit must be 0 <= low < high, not {self.dt_limit}")
        if not 0.0 < self.eps < 1.0:
            raise ValueError(f"eps must lie between 0 and 1, not {self.eps}")

    @property
    def d_inner(self) -> int:
        """Width of z, x and y."""
        return self.nheads * self.headdim

    @property
    def conv_dim(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.d_inner + 2 * self.ngroups * self.d_state

    @property
    def in_rows(self) -> int:
        """Rows of in_proj: z, x, B, C, dt."""
        return self.d_inner + self.conv_dim + self.nheads

    @property
    def group_dim(self) -> int:
        """Channels that share one rms of the gated norm."""
        return self.d_inner // self.ngroups

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj."""
        return self.d_inner

    @property
    def out_groups(self) -> int:
        """Norm groups of the input of out_proj."""
        return self.ngroups

    @property
    def out_normed(self) -> bool:
        """The gated norm is before out_proj."""
        return True

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj by name, in the order z, x, B, C, dt."""
        sizes = {
            "z": self.d_inner,
            "x": self.d_inner,
            "B": self.ngroups * self.d_state,
            "C": self.ngroups * self.d_state,
            "dt": self.nheads,
        }
        edges, start = {}, 0
        for name, size in sizes.items():
            edges[name] = slice(start, start + size)
            start += size
        return edges
