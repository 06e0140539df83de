"""Sizes of an attention mixer."""

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

    kind: ClassVar[str] = "attention"

    n_heads: int  # of queries
    n_kv_heads: int  # of keys and values; n_heads / n_kv_heads queries share one
    head_dim: int

    def __post_init__(self) -> None:
        for name in ("n_heads", "n_kv_heads", "head_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")

    @property
    def per_group(self) -> int:
        """Heads that share keys and values."""
        return self.n_heads // self.n_kv_heads

    @property
    def in_rows(self) -> int:
        """Rows of in_proj: q, k, v."""
        return (self.n_heads + 2 * self.n_kv_heads) * self.head_dim

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj."""
        return self.n_heads * self.head_dim

    @property
    def out_groups(self) -> int:
        """They are one run."""
        return 1

    @property
    def out_normed(self) -> bool:
        """There is no norm before out_proj."""
        return False

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj by name, in the order q, k, v."""
        q, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        return {"q": slice(0, q), "k": slice(q, q + kv), "v": slice(q + kv, q + 2 * kv)}
