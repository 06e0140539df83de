"""Groups of blocks whose cells are predicted together: what the area model knows of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lightmamba.arch.amount import Amount, memory_cells
from lightmamba.arch.config import ArchConfig

__all__ = ["EXPONENT_BITS", "Group", "Memory", "Sizes", "one", "tokens"]

EXPONENT_BITS = 5  # of a block of state
Sizes = tuple[float, ...]
Memory = tuple[int, int]  # entries, bits
Shape = Callable[[ArchConfig], Sizes]


def one(arch: ArchConfig) -> Sizes:
    """Size of a group whose cost does not depend on the configuration."""
    return (1,)


def tokens(arch: ArchConfig) -> int:
    """Copies of a group that each token of a pass has."""
    return arch.tokens


@dataclass(frozen=True)
class Group:
    """Blocks that are measured and predicted together.

    Parameters
    ----------
    name : str
    blocks : str
        Pattern of the whole path of a block in the machine.
    sizes : function
        Of the machine, that the cells are a sum over; never negative.
    memories : function
        Those whose entries or bits depend on the machine, as (entries, bits).
    kind : function
        Names the arithmetic, where its width changes all sizes.
    copies : function
        How many of it there are: one, or one for each token.
    more : function
        Cells that are known without a fit: of further tokens, or of a part that can be counted.
    part : str
        Of the energy that it takes: "products" or "state", where wide random data run through it.
    """

    name: str
    blocks: str
    sizes: Shape
    memories: Callable[[ArchConfig], Iterable[Memory]] = lambda arch: ()
    kind: Callable[[ArchConfig], str] = lambda arch: "any"
    copies: Callable[[ArchConfig], int] = lambda arch: 1
    more: Callable[[ArchConfig], Amount] = lambda arch: Amount()
    part: str = "fabric"

    def counted(self, arch: ArchConfig) -> Amount:
        """Cells of the memories, and of what further tokens need besides."""
        return sum((memory_cells(*memory) for memory in self.memories(arch)), self.more(arch))
