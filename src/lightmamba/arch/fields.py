"""Packed records: named fields with their widths in bits, the first in the lowest bits."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KIND", "Field", "decode", "encode", "width"]

KIND = 0  # bits of a field that holds a kind of rows; a graph knows how many it has


@dataclass(frozen=True)
class Field:
    """One number of a record."""

    name: str
    bits: int
    doc: str
    signed: bool = False

    @property
    def min(self) -> int:
        """Lowest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """Highest value."""
        return (1 << (self.bits - self.signed)) - 1


def width(fields: tuple[Field, ...]) -> int:
    """Bits of a record."""
    return sum(field.bits for field in fields)


def encode(fields: tuple[Field, ...], values: Mapping[str, int]) -> int:
    """Pack one value per field.

    Raises
    ------
    ValueError
        If a field is missing, unknown, or does not fit.
    """
    if unknown := set(values) ^ {field.name for field in fields}:
        raise ValueError(f"fields {sorted(unknown)} are missing or unknown")
    word, at = 0, 0
    for field in fields:
        value = int(values[field.name])
        if not field.min <= value <= field.max:
            raise ValueError(f"{field.name} is {value}, expected {field.min} to {field.max}")
        word |= (value & ((1 << field.bits) - 1)) << at
        at += field.bits
    return word


def decode(fields: tuple[Field, ...], word: int) -> dict[str, int]:
    """Invert :func:`encode`."""
    values = {}
    for field in fields:
        value = word & ((1 << field.bits) - 1)
        values[field.name] = value - (1 << field.bits) if value > field.max else value
        word >>= field.bits
    return values
