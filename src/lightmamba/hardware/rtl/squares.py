"""Running sum of squares: what the two norms need of a vector that streams past."""

from amaranth.hdl import Value

from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import accumulate, split_product

__all__ = ["LATENCY", "SUM_BITS", "sum_of_squares"]

LATENCY = 4  # of a sum
SUM_BITS = 61  # 2^14 squares of int24, each at most 2^46
LOW_BITS = 32  # of the lower part of a sum


def sum_of_squares(pipe: Pipe, x: Timed, issue: Value, first: Value) -> Timed:
    """Sum of the squares of ``x`` up to and with this beat. Four cycles, one beat per cycle.

    Parameters
    ----------
    pipe
        Where it is built.
    x
        Value of the beat, signed.
    issue, first
        In the cycle of the issue: there is a beat; it begins a new sum.

    Source: ``numerics.linear.RmsNorm``.
    """
    square = pipe.comb(lambda s: s[: 2 * len(x) - 1], split_product(pipe, x, x))
    on, begin = pipe.valid(issue, square.stage), pipe.valid(first, square.stage)
    return accumulate(pipe, square, on, begin, bits=SUM_BITS, low=LOW_BITS)
