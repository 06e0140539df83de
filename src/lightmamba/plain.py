"""Plain JSON to dataclasses, every type checked."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_origin, get_type_hints

from lightmamba.errors import InputError, shown

__all__ = ["build", "take"]

T = TypeVar("T")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string",
         dict: "an object", list: "a list", tuple: "a list"}  # fmt: skip


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
    wide: Any = (int, float) if kind is float else list if kind is tuple else kind
    if not isinstance(value, wide) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"metadata {name} is {shown(value)}, expected {WORDS[kind]}")
    return cast(T, _pair(value, name) if kind is tuple else value)


def _pair(values: list[Any], name: str) -> tuple[float, float]:
    """Two real numbers, written as text because JSON has no infinity."""
    try:
        low, high = (float(text) for text in values)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"metadata {name} is {shown(values)}, expected two numbers") from error
    return low, high


def build(kind: Callable[..., T], data: Any, where: str, **given: Any) -> T:
    """Make a dataclass from a JSON object with exactly its fields, but those ``given``.

    Raises
    ------
    InputError
        As for :func:`take`, or for an entry that the dataclass does not know or refuses.
    """
    hints = get_type_hints(kind)
    names = [f.name for f in fields(cast(Any, kind)) if f.name not in given]
    values = {n: _field(data, n, hints[n], where) for n in names}
    if unknown := set(data) - set(names):
        raise InputError(f"metadata {where} has the unknown entry {shown(min(unknown))}")
    try:
        return kind(**values, **given)
    except ValueError as error:
        raise InputError(f"metadata {where} does not fit: {error}") from error


def _field(data: Any, name: str, hint: Any, where: str) -> Any:
    """Value of a field: plain, or another dataclass."""
    if is_dataclass(hint):
        return build(cast(Any, hint), take(data, name, dict, where), f"{where}.{name}")
    return take(data, name, get_origin(hint) or hint, where)
