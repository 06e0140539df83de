"""Cells of an FPGA, and which of them a memory of the RTL becomes on an UltraScale+ device."""

from dataclasses import astuple, dataclass

__all__ = ["DISTRIBUTED", "Amount", "memory_cells"]

DISTRIBUTED = 64  # entries up to which a memory lies in LUTs
LUT_RAMS = ((32, 14), (64, 7))  # entries and bits of eight LUTs: a RAM32M16, a RAM64M8
BLOCK_RAMS = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))  # of 18 kbit
URAM = (4096, 72)
DEEP = 2048  # entries from which a URAM is at least half used


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


def memory_cells(depth: int, width: int, reads: int = 1) -> Amount:
    """Cells of a memory with one write port and ``reads`` clocked read ports.

    Up to :data:`DISTRIBUTED` entries lie in LUTs, with a register for what is read. From
    :data:`DEEP` entries on, what fills half the width of a URAM or more lies in URAM; all else in
    block RAM, in the aspect that takes the fewest. Every read port has a copy of its own.

    The shapes are those of AMD UG573 and UG574, UltraScale memory and logic; the limits are
    choices.
    """
    if depth <= DISTRIBUTED:
        bits = next(bits for entries, bits in LUT_RAMS if depth <= entries)
        return Amount(lut=reads * 8 * -(-width // bits), ff=reads * width)
    if depth >= DEEP and width >= URAM[1] // 2:
        return Amount(uram=reads * _tiles(depth, width, URAM))
    return Amount(bram18=reads * min(_tiles(depth, width, shape) for shape in BLOCK_RAMS))


def _tiles(depth: int, width: int, shape: tuple[int, int]) -> int:
    return -(-depth // shape[0]) * -(-width // shape[1])
