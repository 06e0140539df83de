"""Verilog of a lookup table: a short expression with the values of its truth table."""

import functools
from collections.abc import Sequence

__all__ = ["expression"]

NAMES = "ABCD"


def expression(table: int, inputs: Sequence[str]) -> str:
    """Write a function of up to four bits.

    Parameters
    ----------
    table
        Bit n is the value for the inputs ``n``; the first input is bit 0 of n.
    inputs
        Verilog of each, an operand that needs no brackets.
    """
    text = _shortest(table, len(inputs))
    return "".join(inputs[NAMES.index(c)] if c in NAMES else c for c in text)


@functools.cache
def _shortest(table: int, count: int) -> str:
    """The function by the input that gives the shortest text, inputs named A to D."""
    ones = (1 << (1 << count)) - 1
    if table in (0, ones):
        return "1'b1" if table else "1'b0"
    return min((_by(table, count, n) for n in range(count)), key=len)


def _by(table: int, count: int, n: int) -> str:
    """The function as a choice by input n between its two cofactors."""
    low = high = 0
    at = 0
    for index in range(1 << count):
        if not index >> n & 1:
            low |= (table >> index & 1) << at
            high |= (table >> (index | 1 << n) & 1) << at
            at += 1
    ones, name = (1 << at) - 1, NAMES[n]
    others = [NAMES[k] for k in range(count) if k != n]

    def of(part: int) -> str:
        text = _shortest(part, count - 1)
        return "".join(others[NAMES.index(c)] if c in NAMES else c for c in text)

    if low == high:
        return of(low)
    if (low, high) == (0, ones):
        return name
    if (low, high) == (ones, 0):
        return f"~{name}"
    if low == high ^ ones:
        return f"({name} ^ {of(low)})"
    if low == 0:
        return f"({name} & {of(high)})"
    if high == 0:
        return f"(~{name} & {of(low)})"
    if low == ones:
        return f"(~{name} | {of(high)})"
    if high == ones:
        return f"({name} | {of(low)})"
    return f"({name} ? {of(high)} : {of(low)})"
