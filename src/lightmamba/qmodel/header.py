"""Metadata of a quantized model file: dataclasses to plain JSON and back, every type checked."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, cast, get_origin, get_type_hints

from lightmamba.errors import InputError, shown

__all__ = ["build", "take"]

T = TypeVar("T")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string",
         dict: "an object", list: "a list"}  # fmt: skip


def take(data: Any, key: str, kind: type[T], where: str = "") -> T:
    """Entry ``key`` of a JSON object, which must be of this type.

    Raises
    ------
    InputError
        If ``data`` is no object, has no such entry, or has one of another type.
    """
    name = f"{where}.{key}" if where else key
    if not isinstance(data, dict):
        raise InputError(f"metadata {where or 'entry'} is {shown(data)}, expected an object")
    if key not in data:
        raise InputError(f"the metadata lacks {name}")
    value = data[key]
    wide: Any = (int, float) if kind is float else kind
    if not isinstance(value, wide) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"metadata {name} is {shown(value)}, expected {WORDS[kind]}")
    return cast(T, value)


def build(kind: Callable[..., T], data: Any, where: str, **given: Any) -> T:
    """Make a dataclass from a JSON object with exactly its fields, but those ``given``.

    Raises
    ------
    InputError
        As for :func:`take`, or for an entry that the dataclass does not know or refuses.
    """
    hints = get_type_hints(kind)
    names = [f.name for f in fields(cast(Any, kind)) if f.name not in given]
    values = {n: take(data, n, get_origin(hints[n]) or hints[n], where) for n in names}
    if unknown := set(data) - set(names):
        raise InputError(f"metadata {where} has the unknown entry {shown(min(unknown))}")
    try:
        return kind(**values, **given)
    except ValueError as error:
        raise InputError(f"metadata {where} does not fit: {error}") from error
