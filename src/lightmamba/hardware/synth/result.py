"""Results of synthesis."""

from dataclasses import astuple, dataclass
from typing import Any

from lightmamba.arch.amount import Amount

__all__ = ["BlockReport", "LongestPath", "Synthesis", "cells"]


@dataclass(frozen=True)
class LongestPath:
    """Longest path between two registers, memories, DSPs or ports.

    Parameters
    ----------
    ns : float
        Without routing, on the delays that yosys has (docs/reference/synthesis.md).
    cells : tuple of str
        Cells from its beginning to its end, as ``TYPE.PIN->PIN net``.
    """

    ns: float
    cells: tuple[str, ...]

    @property
    def luts(self) -> int:
        """Levels of logic."""
        return sum(cell.startswith(("LUT", "INV", "RAM32", "RAM64")) for cell in self.cells)

    @property
    def carries(self) -> int:
        """CARRY4 cells."""
        return sum(cell.startswith("CARRY4") for cell in self.cells)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, by the names of the command line."""
        return {"path_ns": self.ns, "lut_levels": self.luts, "carry4": self.carries}


@dataclass(frozen=True)
class BlockReport:
    """One of ``count`` equal blocks."""

    name: str
    count: int
    amount: Amount
    path: LongestPath

    @property
    def total(self) -> Amount:
        """All of them."""
        return self.amount.times(self.count)


@dataclass(frozen=True)
class Synthesis:
    """A machine, block by block."""

    tool: str
    blocks: tuple[BlockReport, ...]

    @property
    def total(self) -> Amount:
        """Cells of the machine."""
        return sum((block.total for block in self.blocks), Amount())

    @property
    def slowest(self) -> BlockReport:
        """The block with the longest path."""
        return max(self.blocks, key=lambda block: block.path.ns)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, by the names of the command line."""
        slowest = self.slowest
        return {
            **cells(self.total),
            **slowest.path.as_dict(),
            "path_block": slowest.name,
            "path": list(slowest.path.cells),
            "fmax_mhz": 1e3 / slowest.path.ns,
            "tool": self.tool,
            "blocks": {
                block.name: {"count": block.count, **cells(block.amount), **block.path.as_dict()}
                for block in self.blocks
            },
        }


def cells(amount: Amount) -> dict[str, int]:
    """An amount of whole cells, by the names of the command line."""
    names = ("lut", "ff", "dsp", "bram", "uram")
    return {name: int(n) for name, n in zip(names, astuple(amount), strict=True)}
