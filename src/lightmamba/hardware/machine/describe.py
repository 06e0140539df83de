"""The contract as tables in Markdown, for docs/reference/hardware.md and hardware-units.md."""

from collections.abc import Iterable, Mapping, Sequence

from lightmamba.arch.clients import MEMORY
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.fields import Field
from lightmamba.arch.graph import Graph
from lightmamba.arch.hardware import cycles
from lightmamba.arch.passes import SLOT, STEP, VECTOR
from lightmamba.common.markdown import to_markdown
from lightmamba.hardware.machine.counters import counters
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.ports import ports
from lightmamba.hardware.machine.probes import probes
from lightmamba.hardware.machine.program import Condition, Instructions, instructions
from lightmamba.hardware.machine.registers import table

__all__ = ["tables"]

WITH_ATTENTION = ("attention", "mamba2", "mlp"), ("attention", "experts", "mamba2")
PASS = {"vector": VECTOR, "slot": SLOT, "step": STEP}  # what describes a pass, by register


def tables() -> dict[str, str]:
    """Every table by the name that marks its place."""
    example = ArchConfig()
    graph, coded = machine(example.kinds), instructions(example.kinds)
    conditions = {each.name: int(each) for each in Condition}
    return {
        "registers": to_markdown(("offset", "name", "access", "meaning"), table(example.kinds)),
        "more-registers": to_markdown(
            ("name", "access", *(f"offset with {_named(kinds)}" for kinds in WITH_ATTENTION),
             "meaning"),
            _more_registers(example.kinds),
        ),
        "instructions": to_markdown(("op", "name", "starts, at bit"), _instructions(coded))
        + f"\nAn instruction is {coded.bits} bits: 4 of opcode, 2 of condition "
        f"({_numbers(conditions)}), then the commands. Kinds of rows: {_numbers(graph.kinds)} "
        "(of a section: their rows alternate).\n",
        "commands": to_markdown(
            ("unit", "field", "bits", "signed", "meaning"), _fields(graph.commands)
        ),
        "pass": to_markdown(("record", "field", "bits", "signed", "meaning"), _fields(PASS)),
        "ports": to_markdown(
            ("port", "bits", "reads, by id", "writes, by id"),
            (
                (p.name, str(p.bits), ", ".join(p.readers), ", ".join(p.writers))
                for p in ports(example)
            ),
        ),
        "counters": to_markdown(
            ("index", "name"), ((str(n), name) for n, name in enumerate(counters(example)))
        ),
        "probes": to_markdown(
            ("probe", "bytes", "fields", "observables of a layer"),
            (
                (p.name, str(p.bytes), ", ".join(f"{e.name} {e.count} x {e.dtype}"
                 if e.count > 1 else f"{e.name} {e.dtype}" for e in p.elements),
                 ", ".join(f"`{e.observable}`" for e in p.elements if e.observable))
                for p in probes(example)
            ),
        ),
        "units": to_markdown(
            ("unit", "file, class", "what it does", "steps of a job", "latency", "counters",
             "probes"),
            _units(graph, example),
        ),
        "streams": to_markdown(
            ("stream", "from", "to", "payload", "item", "items of a job", "queue", "latency"),
            _streams(graph, example),
        ),
        "payloads": to_markdown(("payload", "field", "bits", "signed", "meaning"),
                           _fields(graph.records)),
        "sizes": to_markdown(("size", "meaning"), graph.sizes.items()),
    }  # fmt: skip


def _named(kinds: Sequence[str]) -> str:
    return " and ".join(kind for kind in kinds if kind != "mamba2")


def _more_registers(kinds: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    """Registers of hybrids that a machine of some kinds of layers lacks, with their offsets."""
    maps = [{row[1]: row for row in table(each)} for each in WITH_ATTENTION]
    known = {row[1] for row in table(kinds)}
    for name in dict.fromkeys(name for each in maps for name in each):
        if name not in known:
            access, doc = next(each[name] for each in maps if name in each)[2:]
            at = (each[name][0] if name in each else "" for each in maps)
            yield (name, access, *at, doc)


def _numbers(names: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in names.items())


def _instructions(coded: Instructions) -> Iterable[tuple[str, str, str]]:
    for op in coded.starts:
        units = ", ".join(f"{unit} {at}" for unit, at in coded.offsets(op).items())
        yield str(op), coded.names[op], units


def _units(graph: Graph, config: ArchConfig) -> Iterable[tuple[str, ...]]:
    for unit in graph.units:
        file, name = unit.rtl.split(":")
        counts = [c.name for c in graph.counters for e in c.events if e.startswith(f"{unit.name}.")]
        latency, place = cycles(unit.latency, config), file.replace(".", "/")
        yield (
            unit.name, f"`{place}.py` `{name}`", unit.doc, unit.steps, str(latency or ""),
            ", ".join(dict.fromkeys(counts)), ", ".join(shown.name for shown in unit.shows),
        )  # fmt: skip


def _streams(graph: Graph, config: ArchConfig) -> Iterable[tuple[str, ...]]:
    for stream in graph.streams:
        items = stream.items if stream.per == 1 else f"{stream.items} / {stream.per}"
        at_once = cycles(stream.at_once, config)
        items += f", {at_once} at once" * (at_once > 1)
        known = stream.latency is not None or stream.giver != MEMORY
        yield (
            stream.name, stream.source, stream.target, stream.payload, stream.doc,
            "1" if stream.items == stream.per or stream.items == "one" else items, stream.queue,
            str(graph.latency(stream, config)) if known else "",
        )  # fmt: skip


def _fields(records: Mapping[str, Sequence[Field]]) -> Iterable[tuple[str, str, str, str, str]]:
    for name, fields in records.items():
        for n, field in enumerate(fields):
            signed = "yes" if field.signed else ""
            yield name if n == 0 else "", field.name, str(field.bits), signed, field.doc
