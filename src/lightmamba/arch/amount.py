"""Cells of an FPGA."""

from dataclasses import astuple, dataclass

__all__ = ["Amount"]


@dataclass(frozen=True)
class Amount:
    """Cells of a device, or what a design takes of them.

    Block RAMs are counted in halves of 18 kbit.
    """

    lut: float = 0
    ff: float = 0
    dsp: float = 0
    bram18: float = 0
    uram: float = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def times(self, n: float) -> "Amount":
        """This many copies of it."""
        return Amount(*(n * a for a in astuple(self)))
