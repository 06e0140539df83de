"""Tensors and numbers of a mixer, declared once, as fields of its dataclass.

File layout, checks and random models read the declarations; a new tensor is one more field.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = [
    "Number", "Spec", "Tensor", "describe", "exponent", "number", "numbers", "tensor", "tensors",
]  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """Type and shape of a tensor; None is any length."""

    dtype: str
    shape: tuple[int | None, ...]

    def fits(self, dtype: str, shape: tuple[int, ...]) -> bool:
        """Tell whether a tensor is what it should be."""
        return (
            dtype == self.dtype
            and len(shape) == len(self.shape)
            and all(want in (None, got) for want, got in zip(self.shape, shape, strict=True))
        )

    def __str__(self) -> str:
        return describe(self.dtype, self.shape)


def describe(dtype: str, shape: tuple[int | None, ...]) -> str:
    """Type and shape as people write them: ``int8 (4, 128)``."""
    sizes = ["any" if size is None else str(size) for size in shape]
    return f"{dtype} ({', '.join(sizes)})"


@dataclass(frozen=True)
class Tensor:
    """Declaration of an array: its axes by names of sizes, and the range of its values."""

    dtype: str
    axes: tuple[str, ...]
    low: int | None = None
    high: int | None = None

    def spec(self, sizes: Any) -> Spec:
        """Type and shape for a layer of these sizes."""
        return Spec(self.dtype, tuple(getattr(sizes, axis) for axis in self.axes))


@dataclass(frozen=True)
class Number:
    """Declaration of a whole number."""

    low: int
    high: int


def tensor(dtype: str, *axes: str, low: int | None = None, high: int | None = None) -> Any:
    """Field that is an array (axes, by names of sizes) with values from ``low`` to ``high``."""
    return field(metadata={"declared": Tensor(dtype, axes, low, high)})


def number(low: int, high: int, **options: Any) -> Any:
    """Field that is a whole number from ``low`` to ``high``."""
    return field(metadata={"declared": Number(low, high)}, **options)


def exponent() -> Any:
    """Field that is the exponent of a power of two."""
    return number(-64, 64)


def _declared(kind: Any, which: type) -> Iterator[tuple[str, Any]]:
    for one in fields(kind):
        if isinstance(found := one.metadata.get("declared"), which):
            yield one.name, found


def tensors(kind: Any) -> dict[str, Tensor]:
    """Declared arrays of a dataclass by name."""
    return dict(_declared(kind, Tensor))


def numbers(kind: Any) -> dict[str, Number]:
    """Declared whole numbers of a dataclass by name."""
    return dict(_declared(kind, Number))
