"""Sizes of an average."""

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Sizes"]

STEP = 32  # channels of 16 bits that fill the beats of any memory port


@dataclass(frozen=True)
class Sizes:
    """Validated sizes.

    Raises
    ------
    ValueError
        If a size cannot be; the sentence names the field and what would be right.
    """

    kind: ClassVar[str] = "average"

    channels: int

    def __post_init__(self) -> None:
        if not isinstance(self.channels, int) or self.channels < 1 or self.channels % STEP:
            raise ValueError(f"channels must be a multiple of {STEP}, not {self.channels!r}")

    @property
    def in_rows(self) -> int:
        """Rows of in_proj: the values."""
        return self.channels

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj."""
        return self.channels

    @property
    def out_groups(self) -> int:
        """They are one run."""
        return 1

    @property
    def out_normed(self) -> bool:
        """There is no norm before out_proj."""
        return False

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj by name."""
        return {"v": slice(0, self.channels)}
