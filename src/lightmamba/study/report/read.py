"""Stored results: what other verbs added to files of records, read back and checked."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from lightmamba.arch.config import ArchConfig
from lightmamba.common.errors import InputError
from lightmamba.common.store import Record, read_store
from lightmamba.device.sim import Simulation
from lightmamba.hardware.machine.counters import CYCLES
from lightmamba.study.report.contents import Accuracy, Score, Subject, Synthesis
from lightmamba.study.report.page import MISSING

__all__ = ["accuracy_of", "front_of", "read_results", "simulation_of", "synthesis_of"]

T = TypeVar("T")
# Methods and models as `bench.accuracy` calls them, for people; methods in their order on the page.
METHODS = {
    "ours": "ours",
    "rtn": "RTN, blocks of 128",
    "rtn32": "RTN, blocks of 32",
    "smoothquant": "SmoothQuant",
    "osplus": "Outlier Suppression+",
}
MODELS = {
    "bundled": "The bundled model",
    "outliers": "The bundled model, rewritten to have heavy outliers",
    "hybrid": "The bundled hybrid",
    "experts": "The bundled mixture of experts",
}


class Named(msgspec.Struct):
    """An objective of a search."""

    name: str


class Machine(msgspec.Struct):
    """Sizes of a machine that the page shows."""

    lanes: int
    port_bits: int


class Tried(msgspec.Struct):
    """A machine that a search tried; its other figures have the names of the objectives."""

    scheme: str
    device_share: float


class Point(Tried, kw_only=True):
    """A machine of a front."""

    name: str
    clock_mhz: float
    machine: Machine


class Searched(msgspec.Struct):
    """The record of ``explore``."""

    model: str
    base_target: str
    objectives: list[Named]
    points: Annotated[list[Point], msgspec.Meta(min_length=1)]
    tried: list[Tried]
    best: dict[str, str]


def read_results(files: Sequence[Path], subject: Subject) -> dict[str, Any]:
    """Sections of a page from files of records; of several for one section the last counts.

    Raises
    ------
    InputError
        If a file is something else or holds nothing for a page, or a record is damaged, or is of
        another configuration than ``subject``.
    """
    readers: dict[str, Callable[[list[Record]], Any]] = {
        "simulation": lambda records: simulation_of(records[-1], subject),
        "synthesis": lambda records: synthesis_of(records[-1], subject),
        "accuracy": accuracy_of,
        "front": lambda records: front_of(records[-1]),
    }
    found: dict[str, list[Record]] = {}
    for path in files:
        ours = [(_kind(r), r) for r in read_store(path) if _kind(r) in readers]
        if not ours:
            raise InputError(f"{path} holds nothing for a page; {_how('simulation')}")
        for kind, record in ours:
            found.setdefault(kind, []).append(record)
    return {kind: readers[kind](records) for kind, records in found.items()}


def _kind(record: Record) -> str:
    """The section that a record is for; rows of ``bench.accuracy`` have a method."""
    return str(record.what.get("kind", "accuracy" if "method" in record.what else ""))


def _how(kind: str) -> str:
    """Advice on the command that adds a record."""
    return f"add one with: {MISSING['resources' if kind == 'synthesis' else kind][1]}"


def simulation_of(record: Record, subject: Subject) -> Simulation:
    """Result of ``simulate``; one of another configuration than ``subject`` is refused."""
    found = _read("simulation", record.values, Simulation)
    if found.stalls_per_token and (lost := set(CYCLES) - set(found.stalls_per_token)):
        raise InputError(f"the simulation lacks the cycles {min(lost)}; {_how('simulation')}")
    for name, mine in subject.machine.items():
        theirs = found.machine.get(name)
        if name == "arch" and isinstance(theirs, Mapping):
            theirs = {**ArchConfig().to_dict(), **theirs}  # a parameter of later: its default
        if theirs != mine:
            which = f"; its {name} is {theirs}, not {mine}" if not isinstance(mine, dict) else ""
            raise InputError(
                f"the simulation is of another {name} than {subject.name} on "
                f"{subject.target.name}{which}"
            )
    if found.memory_stalls:
        raise InputError(
            f"the simulation is of memory that stalled at random (--stalls "
            f"{found.memory_stalls:g}), so its speed is not the machine's; leave --stalls out"
        )
    if not set(subject.machine["attainable_gb_per_s"]) <= set(found.bytes_per_token):
        raise InputError(
            f"the simulation lacks channels of {subject.target.name}; {_how('simulation')}"
        )
    return found


def synthesis_of(record: Record, subject: Subject) -> Synthesis:
    """Result of ``synth``; one of another target, or of other LUTs, is refused."""
    found, target = _read("synthesis", record.values, Synthesis), subject.target
    if found.target != target.name:
        raise InputError(f"the synthesis is of target {found.target}, not of {target.name}")
    if target.resources and target.resources.lut_scale != 1 and found.flow == "xcup":
        raise InputError(
            f"the synthesis is for UltraScale+, whose LUTs are not those of target "
            f"{target.name}; add one with: lightmamba synth BUILD --flow ecp5 "
            f"--results FILE"
        )
    return found


def accuracy_of(records: Sequence[Record]) -> tuple[Accuracy, ...]:
    """Results of ``bench.accuracy`` by model, and of each ``evaluate --against``."""
    tables: dict[str, list[Record]] = {}
    for record in records:
        if "method" in record.what:
            tables.setdefault(record.what["model"], []).append(record)
    measured = [_of_model(model, of) for model, of in tables.items()]
    return (*measured, *(_evaluated(r) for r in records if "method" not in r.what))


def front_of(record: Record) -> Mapping[str, Any]:
    """Values of the record of ``explore``, which has a point at least."""
    found = _read("front", record.values, Searched)
    figures: Any = msgspec.defstruct("Figures", [(o.name, float) for o in found.objectives])
    machines = [*record.values["points"], *record.values["tried"]]
    _read("front", machines, list[figures])
    if unknown := set(found.best.values()) - {point.name for point in found.points}:
        raise InputError(f"the front has no point {min(unknown)}; {_how('front')}")
    return record.values


def _read(kind: str, values: Any, into: type[T]) -> T:
    try:
        return msgspec.convert(values, into)
    except msgspec.ValidationError as error:
        raise InputError(f"the {kind} is damaged ({error}); {_how(kind)}") from error


def _of_model(model: str, records: Sequence[Record]) -> Accuracy:
    """Rows of ``bench.accuracy`` for one model, in the order of :data:`METHODS`."""
    order, made = list(METHODS), records[-1].made
    methods = [r.what["method"] for r in records]
    order += [method for method in methods if method not in METHODS]
    rows = sorted(records, key=lambda record: order.index(record.what["method"]))
    return Accuracy(
        MODELS.get(model, model),
        tuple(
            _score(METHODS.get(r.what["method"], r.what["method"]), r.what["width"].upper(), r)
            for r in rows
        ),
        f"Measured by {made.get('command')} on {made.get('computer')}, {made.get('date')}.",
    )


def _evaluated(record: Record) -> Accuracy:
    score = _score(Path(str(record.values.get("model"))).name, "exact integers", record)
    origin = f"Measured by lightmamba evaluate on {score.tokens:,} tokens."
    return Accuracy(score.method, (score,), origin)


def _score(method: str, scheme: str, record: Record) -> Score:
    return _read("accuracy", {**record.values, "method": method, "scheme": scheme}, Score)
