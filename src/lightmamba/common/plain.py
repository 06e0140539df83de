"""Plain values of TOML and JSON to dataclasses: msgspec checks them, the sentences are ours."""

import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import msgspec

from lightmamba.common.errors import InputError, shown

__all__ = ["build", "checked", "options", "restore", "take"]

T = TypeVar("T")
WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text",
         "object": "a table", "array": "a list", "null": "nothing"}  # fmt: skip
FINITE = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
SAID = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?", re.DOTALL)


def checked(value: Any, kind: Any, name: str) -> Any:
    """Return the value, if it is of this type; a number must be finite.

    Raises
    ------
    InputError
        One sentence that names ``name`` and what it must be.
    """
    return _converted(value, kind, name, "")


def take(data: Any, key: str, kind: Any, where: str = "") -> Any:
    """Entry ``key`` of a table, which must be of this type.

    Raises
    ------
    InputError
        If ``data`` is no table, has no such entry, or has one of another type.
    """
    table, name = checked(data, dict, where or "the outermost entry"), _inner(where, key)
    if key not in table:
        raise InputError(f"{name} is missing")
    return checked(table[key], kind, name)


def options(values: Any, known: Mapping[str, Any], where: str, example: str = "") -> dict[str, Any]:
    """Entries of a table, each of the type that ``known`` gives it; none of them has to be there.

    Raises
    ------
    InputError
        If it is no table, has another entry, or one of another type.
    """
    record = _record(tuple((name, kind, msgspec.UNSET) for name, kind in known.items()))
    found = _converted(values, record, where, example)
    pairs = ((name, getattr(found, name)) for name in known)
    return {name: value for name, value in pairs if value is not msgspec.UNSET}


def build(kind: type[T], values: Any, where: str, example: str = "", **given: Any) -> T:
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
    InputError
        One sentence: a key that is missing or unknown, a value of another type, or what the
        dataclass refuses.
    """
    record = _fields(cast(Any, kind), tuple(given), written=False)[0]
    found = _converted(values, record, where, example)
    return _made(kind, where, given | {n: getattr(found, n) for n in record.__struct_fields__})


def restore(kind: type[T], values: Any, where: str, **given: Any) -> T:
    """Build a dataclass from what :func:`dataclasses.asdict` wrote: every field is there.

    Raises
    ------
    InputError
        As for :func:`build`.
    """
    table = checked(values, dict, where)
    record, inner = _fields(cast(Any, kind), tuple(given), written=True)
    found = _converted({k: v for k, v in table.items() if k not in inner}, record, where, "")
    made = given | {name: getattr(found, name) for name in record.__struct_fields__}
    for name, of in inner.items():
        made[name] = restore(of, take(table, name, dict, where), _inner(where, name))
    return _made(kind, where, made)


def _made(kind: type[T], where: str, made: dict[str, Any]) -> T:
    try:
        return kind(**made)
    except ValueError as error:
        raise InputError(f"{where}: {error}" if where else str(error)) from error


@cache
def _fields(
    kind: Any, given: tuple[str, ...], *, written: bool
) -> tuple[type[msgspec.Struct], dict[str, Any]]:
    """Record of the fields that a table has, and the dataclasses among them, which are tables."""
    hints, own, inner = get_type_hints(kind), [], {}
    for field in fields(kind):
        if field.name in given:
            continue
        if is_dataclass(hints[field.name]):
            inner[field.name] = hints[field.name]
            continue
        default = field.default
        if field.default_factory is not MISSING:
            default = msgspec.field(default_factory=field.default_factory)
        own.append((field.name, hints[field.name], MISSING if written else default))
    return _record(tuple(own)), inner


def _record(entries: tuple[tuple[str, Any, Any], ...]) -> type[msgspec.Struct]:
    """Struct of these names, types and defaults, that refuses all others."""
    listed: list[Any] = []
    for name, kind, default in entries:
        of = _wire(kind)
        if default is msgspec.UNSET:
            of |= msgspec.UnsetType
        listed.append((name, of) if default is MISSING else (name, of, default))
    return msgspec.defstruct("Record", listed, kw_only=True, forbid_unknown_fields=True)


def _wire(kind: Any) -> Any:
    """The type with a finite number in the place of any."""
    return FINITE if kind is float else kind


def _converted(values: Any, kind: Any, where: str, example: str) -> Any:
    try:
        return msgspec.convert(values, _wire(kind))
    except msgspec.ValidationError as error:
        raise InputError(_sentence(str(error), values, kind, where, example)) from error


def _sentence(said: str, values: Any, kind: Any, where: str, example: str) -> str:
    """Message of msgspec, with the value and an example."""
    match = cast(re.Match[str], SAID.fullmatch(said))
    what, path = match["what"], match["path"] or ""
    name, right = _inner(where, path.removeprefix(".")), example and f", for example {example}"
    named = re.search(r"field `(.*)`", what, re.DOTALL)
    if named and "unknown" in what:
        known, key = ", ".join(kind.__struct_fields__) or "nothing", " ".join(named[1].split())
        if not where:
            return f"there is no key {key}; known are {known}{right}"
        within = f"[{where}]" if where.isalpha() else where
        return f"{within} has no key {key}; it has {known}{right}"
    if named:
        line = f"; example: {example}" if named[1] in example else ""
        return f"{_inner(name, named[1])} is missing{line}"
    return f"{name} must be {_expected(what)}, not {shown(_at(values, path))}"


def _expected(what: str) -> str:
    """Type that msgspec expected, in words."""
    if length := re.search(r"of length (\d+)", what):
        return f"a list of {length[1]}"
    types = re.match(r"Expected `([\w| ]+)`, got", what)
    return " or ".join(WORDS[t] for t in types[1].split(" | ")) if types else "a finite number"


def _at(values: Any, path: str) -> Any:
    """The value at a place as msgspec writes it: ``.name[3].other``.

    Of an entry of a table with any keys, ``.name[...]``, the table: msgspec does not say which.
    """
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path.partition("[...]")[0]):
        values = values[name] if name else values[int(index)]
    return values


def _inner(where: str, name: str) -> str:
    return f"{where}.{name}" if where and name and not name.startswith("[") else where + name
