"""Plain values of TOML and JSON: types checked, and turned into dataclasses."""

import math
from dataclasses import MISSING, fields
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin

from lightmamba.errors import shown

__all__ = ["build", "checked"]

T = TypeVar("T")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text",
         dict: "a table", list: "a list"}  # fmt: skip


def checked(value: Any, kind: Any, name: str) -> Any:
    """Return the value, if it is of this type; a number must be finite.

    Raises
    ------
    ValueError
        One sentence that names ``name`` and what it must be.
    """
    wide = (int, float) if kind is float else kind
    if not isinstance(value, wide) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} must be {WORDS[kind]}, not {shown(value)}")
    if kind is not float:
        return value
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, not {shown(value)}")
    return number


def build(kind: type[T], values: Any, where: str, example: str, **given: Any) -> T:
    """Make a dataclass from a table with its fields, all but those ``given``.

    Parameters
    ----------
    kind, values
        The dataclass, and the table.
    where
        Name of the table for messages; empty for the outermost.
    example
        A right line of such a table, for messages.
    **given
        Fields that are not of the table.

    Raises
    ------
    ValueError
        One sentence: a key that is missing or unknown, or a value of another type.
    """
    table = checked(values, dict, where)
    known = {f.name: f for f in fields(cast(Any, kind)) if f.name not in given}
    if unknown := set(table) - set(known):
        within = f"[{where}]" if where else "a target"
        key = " ".join(min(unknown).split())
        raise ValueError(
            f"{within} has no key {key}; it has {', '.join(known)}, for example {example}"
        )
    found: dict[str, Any] = {}
    for name, field in known.items():
        full = f"{where}.{name}" if where else name
        if name in table:
            found[name] = _of_type(table[name], field.type, full)
        elif field.default is MISSING:
            raise ValueError(f"{full} is missing; a right example is {example}")
    return kind(**found, **given)


def _of_type(value: Any, kind: Any, name: str) -> Any:
    """A value of a field's type: plain, a tuple of plain ones, or None where that is allowed."""
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return tuple(checked(entry, item, name) for entry in checked(value, list, name))
    if isinstance(kind, UnionType):
        return None if value is None else checked(value, get_args(kind)[0], name)
    return checked(value, kind, name)
