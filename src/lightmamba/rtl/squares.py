"""Running sum of squares: what the two norms need of a vector that streams past."""

from amaranth.hdl import Cat, Mux, Signal, Value

from lightmamba.rtl.pipe import Pipe, Timed
from lightmamba.rtl.shifts import split_product

__all__ = ["LATENCY", "SUM_BITS", "sum_of_squares"]

LATENCY = 4  # of a sum
SUM_BITS = 61  # 2^14 squares of int24, each at most 2^46
LOW_BITS = 32  # added one cycle before the rest, so that no carry runs further


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
    m = pipe.m
    square = pipe.comb(lambda s: s[: 2 * len(x) - 1], split_product(pipe, x, x))
    at = square.stage
    begin = pipe.valid(first, at)  # with a reset, so that it stays a register
    upper = pipe.delay(pipe.comb(lambda s: s[LOW_BITS:], square), at + 1)
    begin_upper = pipe.delay(pipe.input(begin, at), at + 1)

    low, carry = Signal(LOW_BITS, reset_less=True), Signal(reset_less=True)
    high = Signal(SUM_BITS - LOW_BITS, reset_less=True)
    with m.If(pipe.valid(issue, at)):
        m.d.sync += Cat(low, carry).eq(Mux(begin, 0, low) + square.value[:LOW_BITS])
    with m.If(pipe.valid(issue, at + 1)):
        m.d.sync += high.eq(Mux(begin_upper.value, 0, high) + upper.value + carry)
    settled = pipe.delay(pipe.input(low, at + 1), at + 2)
    return pipe.comb(lambda a, b: Cat(a, b), settled, pipe.input(high, at + 2))
