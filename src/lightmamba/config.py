"""The sizes of a Mamba2 model, under the field's names and with the paper's letters."""

import math
from dataclasses import dataclass

__all__ = ["SHAPES", "Mamba2Config"]


@dataclass(frozen=True)
class Mamba2Config:
    """Validated sizes of one Mamba2 language model.

    Raises
    ------
    ValueError
        If the sizes cannot belong together; the sentence names the field and what would be right.
    """

    d_model: int  # residual stream (D)
    n_layer: int
    vocab_size: int  # rows of the embedding, padding included
    d_state: int = 128  # state dimension (N)
    headdim: int = 64  # (P)
    ngroups: int = 1  # heads of one group share B and C (G)
    expand: int = 2  # d_inner = expand * d_model (E)
    d_conv: int = 4  # taps of the causal convolution
    chunk_size: int = 64  # tokens per chunk of the parallel form (Q)
    conv_bias: bool = True
    tie_embeddings: bool = True
    eps: float = 1e-5  # of every rms
    dt_limit: tuple[float, float] = (0.0, math.inf)  # clamp of dt after softplus

    def __post_init__(self) -> None:
        for name in ("d_model", "n_layer", "vocab_size", "d_state", "headdim", "ngroups", "expand"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")
        if self.d_inner % self.headdim:
            raise ValueError(
                f"headdim {self.headdim} does not divide d_inner {self.d_inner}; "
                f"try headdim {math.gcd(self.d_inner, 64)}"
            )
        if self.nheads % self.ngroups:
            raise ValueError(f"ngroups {self.ngroups} does not divide nheads {self.nheads}")
        if self.d_conv < 2:
            raise ValueError(f"d_conv must be at least 2, not {self.d_conv}")
        if self.chunk_size < 1:
            raise ValueError(f"chunk_size must be positive, not {self.chunk_size}")
        low, high = self.dt_limit
        if not 0.0 <= low < high:
            raise ValueError(f"dt_limit must be 0 <= low < high, not {self.dt_limit}")
        if not 0.0 < self.eps < 1.0:
            raise ValueError(f"eps must lie between 0 and 1, not {self.eps}")

    @property
    def d_inner(self) -> int:
        """Width of z, x and y."""
        return self.expand * self.d_model

    @property
    def nheads(self) -> int:
        """Number of heads (H)."""
        return self.d_inner // self.headdim

    @property
    def conv_dim(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.d_inner + 2 * self.ngroups * self.d_state

    @property
    def d_in_proj(self) -> int:
        """Rows of in_proj: z, x, B, C, dt."""
        return self.d_inner + self.conv_dim + self.nheads

    @property
    def group_dim(self) -> int:
        """Channels that share one rms of the gated norm."""
        return self.d_inner // self.ngroups

    def splits(self) -> dict[str, slice]:
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


SHAPES = {
    "mamba2-130m": Mamba2Config(d_model=768, n_layer=24, vocab_size=50288),
    "mamba2-370m": Mamba2Config(d_model=1024, n_layer=48, vocab_size=50288),
    "mamba2-780m": Mamba2Config(d_model=1536, n_layer=48, vocab_size=50288),
    "mamba2-1.3b": Mamba2Config(d_model=2048, n_layer=48, vocab_size=50288),
    "mamba2-2.7b": Mamba2Config(d_model=2560, n_layer=64, vocab_size=50288),
    "demo": Mamba2Config(d_model=256, n_layer=6, vocab_size=2048),
}
