"""Exact witnesses: Python's whole numbers and fractions, which neither round nor wrap."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["clamp", "docs", "half_up", "objects", "power", "stated"]


def power(exponent: int) -> Fraction:
    """2^exponent."""
    return Fraction(2) ** exponent


def half_up(value: Fraction | int, shift: int = 0) -> int:
    """Nearest whole number to value / 2^shift; ties go up."""
    return math.floor(value * power(-shift) + Fraction(1, 2))


def clamp(value: int, low: int, high: int) -> int:
    """Nearest number in low..high."""
    return low if value < low else min(value, high)


def docs(thing: object) -> str:
    """Docstring, on one line."""
    return " ".join((thing.__doc__ or "").split())


def objects(x: NDArray[Any]) -> NDArray[np.object_]:
    """The same array of Python's own integers."""
    return x.astype(object)


def stated(worst: float) -> str:
    """An error as docstrings state it: two digits, rounded up."""
    exponent = math.floor(math.log10(worst))
    digits = math.ceil(worst / 10.0 ** (exponent - 1)) / 10
    return f"{digits:.1f}e{exponent}" if exponent else f"{digits:.1f}"
