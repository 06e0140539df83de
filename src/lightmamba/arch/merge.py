"""One graph of the spine and of the hardware of several kinds of layers."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from lightmamba.arch.clients import MEMORY
from lightmamba.arch.fields import KIND, Field
from lightmamba.arch.graph import Graph
from lightmamba.arch.hardware import OTHERS, Hardware, Stream

__all__ = ["merge"]

SPINE = "the spine"  # its name in errors


def merge(front: Hardware, kinds: Mapping[str, Hardware], back: Hardware) -> Graph:
    """Put the hardware of kinds between the front and the back of the spine.

    What two of them declare alike is there once. A port that streams of several kinds lead to gets
    a selector: the command of its unit says which of them a job takes (:meth:`Graph.choices`).

    Parameters
    ----------
    front, back : Hardware
        Of the spine: what comes before the kinds' units, and after them.
    kinds : {name: Hardware}
        Of layers, by their names.

    Raises
    ------
    ValueError
        If two parts declare one name differently, or the parts do not fit together.
    """
    parts = {SPINE: front, **{f"kind {name}": each for name, each in kinds.items()}}
    every = [*parts.items(), (SPINE, back)]
    _links(every)
    found: dict[str, Any] = {}
    for entry in fields(Hardware):
        values = [(owner, getattr(part, entry.name)) for owner, part in every]
        if isinstance(values[0][1], Mapping):
            found[entry.name] = _tables(values)
        else:
            found[entry.name] = _entries(entry.name, values)
    bits = max(1, (len(found["rows"]) + len(OTHERS) + len(found["turns"]) - 1).bit_length())
    for tables in ("records", "commands"):
        found[tables] = {name: _wide(table, bits) for name, table in found[tables].items()}
    for unit, more in found["more"].items():
        found["commands"][unit] = (*found["commands"][unit], *more)
    found["commands"] = _chosen(found["commands"], found["streams"])
    places: list[tuple[str, Mapping[str, Any]]] = [
        (f"kind {name}", {row.name: n for n, row in enumerate(each.rows)})
        for name, each in kinds.items()
    ]
    starts = {name: _started(each) for name, each in kinds.items()}
    return Graph(**found, starts=starts, places=_tables(places))


def _started(hardware: Hardware) -> tuple[str, ...]:
    """Units of a kind that the instruction of its in_proj starts."""
    others = {unit for units in hardware.instructions.values() for unit in units}
    return tuple(unit for unit in hardware.commands if unit not in others)


def _links(parts: list[tuple[str, Hardware]]) -> None:
    """Refuse a link within one part that has the name of another part's stream."""
    streams = [(owner, stream.name) for owner, part in parts for stream in part.streams]
    for owner, part in parts:
        for link in part.links:
            others = [other for other, name in streams if name == link.name]
            if others and owner not in others:
                raise ValueError(
                    f"{owner} has a link {link.name}, and {others[0]} a stream of that name; "
                    f"rename one of them"
                )


def _wide(table: tuple[Field, ...], bits: int) -> tuple[Field, ...]:
    """Fields, of which those of a kind of rows get its bits."""
    return tuple(replace(each, bits=bits) if each.bits == KIND else each for each in table)


def _tables(values: list[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Tables, of which two may have an entry if it is the same."""
    found: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for owner, table in values:
        for name, value in table.items():
            _same(name, owners.setdefault(name, owner), found.setdefault(name, value), owner, value)
    return found


def _entries(what: str, values: list[tuple[str, tuple[Any, ...]]]) -> tuple[Any, ...]:
    """Entries in order, those that two parts have once."""
    found: dict[Any, Any] = {}
    owners: dict[Any, str] = {}
    for owner, entries in values:
        for entry in entries:
            name = entry if what in ("apart", "turns", "wires") else entry.name
            _same(name, owners.setdefault(name, owner), found.setdefault(name, entry), owner, entry)
    return tuple(found.values())


def _same(name: Any, first: str, one: Any, second: str, other: Any) -> None:
    if one != other:
        raise ValueError(f"{first} and {second} declare {name} differently; rename one of them")


def _chosen(
    commands: Mapping[str, tuple[Field, ...]], streams: tuple[Stream, ...]
) -> dict[str, tuple[Field, ...]]:
    """Commands with a field for each port that has several sources."""
    found = dict(commands)
    targets = [stream.target for stream in streams]
    for target in dict.fromkeys(targets):
        unit, port = target.split(".")
        if (count := targets.count(target)) > 1 and unit != MEMORY:
            names = [stream.name for stream in streams if stream.target == target]
            doc = f"what {port} takes: " + ", ".join(f"{n} {each}" for n, each in enumerate(names))
            choice = Field(f"{port}_from", (count - 1).bit_length(), doc)
            found[unit] = (*found.get(unit, ()), choice)
    return found
