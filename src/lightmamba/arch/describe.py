"""The contract as tables in Markdown: docs/reference/hardware.md is made of them."""

from collections.abc import Iterable, Sequence

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.counters import counters
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
            ("probe", "bytes", "fields"),
            (
                (p.name, str(p.bytes), ", ".join(f"{e.name} {e.count} x {e.dtype}"
                 if e.count > 1 else f"{e.name} {e.dtype}" for e in p.elements))
                for p in probes(example)
            ),
        ),
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


def _commands() -> Iterable[tuple[str, str, str, str, str]]:
    for unit, fields in COMMANDS.items():
        for n, field in enumerate(fields):
            signed = "yes" if field.signed else ""
            yield unit if n == 0 else "", field.name, str(field.bits), signed, field.doc
