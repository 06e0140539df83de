"""The contract as tables in Markdown, for docs/reference/hardware.md and hardware-units.md."""

from collections.abc import Iterable, Mapping, Sequence

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.counters import counters
from lightmamba.arch.fields import Field
from lightmamba.arch.graph import MEMORY, SIZES, cycles
from lightmamba.arch.machine import MACHINE
from lightmamba.arch.passes import SLOT, STEP, VECTOR
from lightmamba.arch.ports import ports
from lightmamba.arch.probes import probes
from lightmamba.arch.program import (
    COMMANDS,
    INSTRUCTION_BITS,
    OPERATIONS,
    Condition,
    Kind,
    Op,
    offsets,
)
from lightmamba.arch.registers import table

__all__ = ["tables"]

PASS = {"vector": VECTOR, "slot": SLOT, "step": STEP}  # what describes a pass, by register


def tables() -> dict[str, str]:
    """Every table by the name that marks its place."""
    example = ArchConfig()
    return {
        "registers": _lines(("offset", "name", "access", "meaning"), table()),
        "instructions": _lines(("op", "name", "starts, at bit"), _instructions())
        + f"\nAn instruction is {INSTRUCTION_BITS} bits: 4 of opcode, 2 of condition "
        f"({_names(Condition)}), then the commands. Kinds of rows: {_names(Kind)} "
        "(of a section: X and Z by turns).\n",
        "commands": _lines(("unit", "field", "bits", "signed", "meaning"), _commands()),
        "pass": _lines(("record", "field", "bits", "signed", "meaning"), _fields(PASS)),
        "ports": _lines(
            ("port", "bits", "reads, by id", "writes, by id"),
            (
                (p.name, str(p.bits), ", ".join(p.readers), ", ".join(p.writers))
                for p in ports(example)
            ),
        ),
        "counters": _lines(
            ("index", "name"), ((str(n), name) for n, name in enumerate(counters(example)))
        ),
        "probes": _lines(
            ("probe", "bytes", "fields", "observables of a layer"),
            (
                (p.name, str(p.bytes), ", ".join(f"{e.name} {e.count} x {e.dtype}"
                 if e.count > 1 else f"{e.name} {e.dtype}" for e in p.elements),
                 ", ".join(f"`{e.observable}`" for e in p.elements if e.observable))
                for p in probes(example)
            ),
        ),
        "units": _lines(
            ("unit", "file, class", "what it does", "steps of a job", "latency", "counters",
             "probes"),
            _units(example),
        ),
        "streams": _lines(
            ("stream", "from", "to", "payload", "item", "items of a job", "queue", "latency"),
            _streams(example),
        ),
        "payloads": _lines(("payload", "field", "bits", "signed", "meaning"),
                           _fields(MACHINE.records)),
        "sizes": _lines(("size", "meaning"), SIZES.items()),
    }  # fmt: skip


def _lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in body) + "\n"


def _names(kind: type[Op] | type[Condition] | type[Kind]) -> str:
    return ", ".join(f"{int(member)} {member.name}" for member in kind)


def _instructions() -> Iterable[tuple[str, str, str]]:
    for op in OPERATIONS:
        units = ", ".join(f"{unit} {at}" for unit, at in offsets(op).items())
        yield str(int(op)), op.name, units


def _units(config: ArchConfig) -> Iterable[tuple[str, ...]]:
    for unit in MACHINE.units:
        file, name = unit.rtl.split(":")
        counts = [
            c.name for c in MACHINE.counters for e in c.events if e.startswith(f"{unit.name}.")
        ]
        latency = cycles(unit.latency, config)
        yield (
            unit.name, f"`{file}.py` `{name}`", unit.doc, unit.steps, str(latency or ""),
            ", ".join(dict.fromkeys(counts)), ", ".join(shown.name for shown in unit.shows),
        )  # fmt: skip


def _streams(config: ArchConfig) -> Iterable[tuple[str, ...]]:
    for stream in MACHINE.streams:
        items = stream.items if stream.per == 1 else f"{stream.items} / {stream.per}"
        known = stream.latency is not None or stream.giver != MEMORY
        yield (
            stream.name, stream.source, stream.target, stream.payload, stream.doc,
            "1" if stream.items == stream.per or stream.items == "one" else items, stream.queue,
            str(MACHINE.latency(stream, config)) if known else "",
        )  # fmt: skip


def _commands() -> Iterable[tuple[str, str, str, str, str]]:
    return _fields(COMMANDS)


def _fields(records: Mapping[str, Sequence[Field]]) -> Iterable[tuple[str, str, str, str, str]]:
    for name, fields in records.items():
        for n, field in enumerate(fields):
            signed = "yes" if field.signed else ""
            yield name if n == 0 else "", field.name, str(field.bits), signed, field.doc
