"""Sizes of an MLP."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Sizes"]

ACTIVATIONS = ("silu", "relu2")


@dataclass(frozen=True)
class Sizes:
    """Validated sizes.

    Raises
    ------
    ValueError
        If a size cannot be; the sentence names the field and what would be right.
    """

    kind: ClassVar[str] = "mlp"

    d_hidden: int  # hidden channels
    activation: str = "silu"  # silu(a)·b of two projections, or relu2: max(a, 0)² of one

    def __post_init__(self) -> None:
        if not isinstance(self.d_hidden, int) or self.d_hidden < 1:
            raise ValueError(f"d_hidden must be a positive whole number, not {self.d_hidden!r}")
        if self.activation not in ACTIVATIONS:
            known = " or ".join(ACTIVATIONS)
            raise ValueError(f"activation must be {known}, not {self.activation!r}")

    @property
    def gated(self) -> bool:
        """Whether a second projection multiplies the activation."""
        return self.activation == "silu"

    @property
    def in_rows(self) -> int:
        """Rows of in_proj: a, and b if gated."""
        return self.d_hidden * (2 if self.gated else 1)

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj."""
        return self.d_hidden

    @property
    def out_groups(self) -> int:
        """They are one run."""
        return 1

    @property
    def out_normed(self) -> bool:
        """There is no norm before out_proj."""
        return False

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj by name: a goes through the activation."""
        n = self.d_hidden
        return {"a": slice(0, n), "b": slice(n, 2 * n)} if self.gated else {"a": slice(0, n)}
