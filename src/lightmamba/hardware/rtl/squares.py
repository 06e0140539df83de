"""Running sum of squares: what the two norms need of a vector that streams past."""

from collections.abc import Sequence

from amaranth.hdl import Value

from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import accumulate, add_tree, split_product

__all__ = ["LATENCY", "SUM_BITS", "sum_of_squares"]

LATENCY = 4  # of a sum of one value per beat
SUM_BITS = 61  # 2^14 squares of int24, each at most 2^46
LOW_BITS = 32  # of the lower part of a sum


def sum_of_squares(pipe: Pipe, values: Sequence[Timed], issue: Value, first: Value) -> Timed:
    """Sum of the squares of all ``values`` up to and with this beat, one beat per cycle.

    Four cycles for one value, one more for each level of a tree that adds several.

    Parameters
    ----------
    pipe
        Where it is built.
    values
        Those of the beat, signed and of one width.
    issue, first
        In the cycle of the issue: there is a beat; it begins a new sum.

    Source: ``numerics.linear.RmsNorm``.
    """
    squares = [
        pipe.comb(lambda s, x=x: s[: 2 * len(x) - 1], split_product(pipe, x, x)) for x in values
    ]
    square = add_tree(pipe, squares, levels=1)
    on, begin = pipe.valid(issue, square.stage), pipe.valid(first, square.stage)
    return accumulate(pipe, square, on, begin, bits=SUM_BITS, low=LOW_BITS)
