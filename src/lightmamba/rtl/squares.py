"""Running sum of squares: what the two norms need of a vector that streams past."""

from amaranth.hdl import Cat, Mux, Signal, Value, unsigned

from lightmamba.rtl.pipe import Pipe, Timed

__all__ = ["SUM_BITS", "sum_of_squares"]

SUM_BITS = 61  # 2^14 squares of int24, each at most 2^46
LOW_BITS = 32  # added one cycle before the rest, so that no carry runs further


def sum_of_squares(pipe: Pipe, x: Timed, issue: Value, first: Value) -> Timed:
    """Sum of the squares of ``x`` up to and with this beat. Three cycles, one beat per cycle.

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
    square = pipe.step(lambda v: v * v, x, shape=unsigned(2 * len(x) - 1))
    at = square.stage
    begin = pipe.delay(pipe.input(first), at)
    upper = pipe.delay(pipe.comb(lambda s: s[LOW_BITS:], square), at + 1)
    begin_upper = pipe.delay(begin, at + 1)

    low, carry = Signal(LOW_BITS, reset_less=True), Signal(reset_less=True)
    high = Signal(SUM_BITS - LOW_BITS, reset_less=True)
    with m.If(pipe.valid(issue, at)):
        m.d.sync += Cat(low, carry).eq(Mux(begin.value, 0, low) + square.value[:LOW_BITS])
    with m.If(pipe.valid(issue, at + 1)):
        m.d.sync += high.eq(Mux(begin_upper.value, 0, high) + upper.value + carry)
    settled = pipe.delay(pipe.input(low, at + 1), at + 2)
    return pipe.comb(lambda a, b: Cat(a, b), settled, pipe.input(high, at + 2))
