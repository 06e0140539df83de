"""Expressions of truth tables."""

from collections.abc import Callable

import pytest

from lightmamba.hardware.synth.truth import expression

Function = Callable[[int], int]


def parsed(text: str) -> Function:
    """What a text of brackets says, for the bits of a number named a to d."""
    at = 0

    def term() -> Function:
        nonlocal at
        if text[at] == "~":
            at += 1
            inner = term()
            return lambda n: 1 - inner(n)
        if text.startswith("1'b", at):
            at += 4
            value = int(text[at - 1])
            return lambda n: value
        if text[at] != "(":
            at += 1
            bit = "abcd".index(text[at - 1])
            return lambda n: n >> bit & 1
        at += 1
        left = term()
        sign = text[at + 1]
        at += 3
        right = term()
        if sign == "?":
            at += 3
            other = term()
            at += 1
            return lambda n: right(n) if left(n) else other(n)
        at += 1
        both: dict[str, Function] = {
            "&": lambda n: left(n) & right(n),
            "|": lambda n: left(n) | right(n),
            "^": lambda n: left(n) ^ right(n),
        }
        return both[sign]

    return term()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_every_function_of_few_bits(count):
    for table in range(1 << (1 << count)):
        function = parsed(expression(table, "abcd"[:count]))
        assert [function(n) for n in range(1 << count)] == [
            table >> n & 1 for n in range(1 << count)
        ], table


def test_functions_of_four_bits():
    for table in range(0, 1 << 16, 97):
        function = parsed(expression(table, "abcd"))
        assert sum(function(n) << n for n in range(16)) == table


def test_worked_values():
    assert expression(0x8, "ab") == "(a & b)"
    assert expression(0x6, "ab") == "(a ^ b)"
    assert expression(0x2222, ["x", "y", "u", "v"]) == "(x & ~y)"
    assert expression(0xCA, "abc") == "(c ? b : a)"
