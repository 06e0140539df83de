"""Sizes of one layer, of any kind."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

__all__ = ["Sizes"]


class Sizes(Protocol):
    """Sizes of one layer's mixer; a frozen dataclass of plain numbers."""

    kind: ClassVar[str]

    @property
    def in_rows(self) -> int:
        """Rows of in_proj."""

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj, without padding."""

    @property
    def out_groups(self) -> int:
        """Runs of them that have a 1/rms of their own, and are padded by themselves."""

    @property
    def out_normed(self) -> bool:
        """Whether that input is divided by its root mean square."""

    def sections(self) -> Mapping[str, slice]:
        """Rows of in_proj by name, in order."""
