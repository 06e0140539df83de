"""Stored results: what other verbs added to files of records, read back and checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lightmamba.arch.config import ArchConfig
from lightmamba.common.errors import InputError
from lightmamba.common.store import Record, read_store
from lightmamba.device.sim import Simulation
from lightmamba.hardware.estimate.result import Amount
from lightmamba.study.report.contents import Accuracy, Front, FrontPoint, Score, Subject, Synthesis

__all__ = [
    "METHODS", "Results", "accuracy_of", "front_of", "read_results", "simulation_of",
    "synthesis_of",
]  # fmt: skip

T = TypeVar("T")
# Methods and models as `bench.accuracy` calls them, for people.
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
}
# The command that adds a record for a section.
HOW = {
    "simulation": "add one with: lightmamba simulate BUILD --results FILE",
    "synthesis": "add one with: lightmamba synth BUILD --flow xcup --results FILE",
    "accuracy": "add one with: lightmamba evaluate MODEL --text TEXT --against CKPT --results FILE",
    "front": "make one with: lightmamba explore SHAPE --target NAME --out DIR",
}


@dataclass(frozen=True)
class Results:
    """Results for a page."""

    simulation: Simulation | None = None
    synthesis: Synthesis | None = None
    accuracy: tuple[Accuracy, ...] = ()
    front: Front | None = None


def read_results(files: Sequence[Path], subject: Subject) -> Results:
    """Read results for a page from files of records; of several for one section the last counts.

    Raises
    ------
    InputError
        If a file is something else or holds nothing for a page, or a record is damaged, or is of
        another configuration than ``subject``.
    """
    found: dict[str, list[Record]] = {}
    for path in files:
        records = read_store(path)
        kinds = {_kind(record) for record in records} & set(HOW)
        if not kinds:
            raise InputError(f"{path} holds nothing for a page; {HOW['simulation']}")
        for record in records:
            found.setdefault(_kind(record), []).append(record)
    last = {kind: of_kind[-1] for kind, of_kind in found.items()}
    return Results(
        simulation_of(last["simulation"], subject) if "simulation" in last else None,
        synthesis_of(last["synthesis"], subject) if "synthesis" in last else None,
        accuracy_of(found.get("accuracy", [])),
        front_of(last["front"]) if "front" in last else None,
    )


def _kind(record: Record) -> str:
    """The section that a record is for; rows of ``bench.accuracy`` have a method."""
    return str(record.what.get("kind", "accuracy" if "method" in record.what else ""))


def simulation_of(record: Record, subject: Subject) -> Simulation:
    """Result of ``simulate``.

    Raises
    ------
    InputError
        If it is damaged, or of another configuration than ``subject``.
    """
    found = _read(record, "simulation", Simulation.from_dict)
    for name, mine in subject.machine.items():
        theirs = found.machine.get(name)
        if name == "arch" and isinstance(
            theirs, Mapping
        ):  # of before a parameter was there: its default
            theirs = {**ArchConfig().to_dict(), **theirs}
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
            f"the simulation lacks channels of {subject.target.name}; {HOW['simulation']}"
        )
    return found


def synthesis_of(record: Record, subject: Subject) -> Synthesis:
    """Result of ``synth``.

    Raises
    ------
    InputError
        If it is damaged, or of another target than ``subject``, or of LUTs that its device
        does not have.
    """

    def build(found: Mapping[str, Any]) -> Synthesis:
        if (target := found["target"]) != subject.target.name:
            raise ValueError(f"it is of target {target}, not of {subject.target.name}")
        return _synthesis(found)

    found, device = _read(record, "synthesis", build), subject.target.resources
    if device is not None and device.lut_scale != 1 and record.values.get("flow") == "xcup":
        raise InputError(
            f"the synthesis is for UltraScale+, whose LUTs are not those of target "
            f"{subject.target.name}; add one with: lightmamba synth BUILD --flow ecp5 "
            f"--results FILE"
        )
    return found


def accuracy_of(records: Sequence[Record]) -> tuple[Accuracy, ...]:
    """Results of ``evaluate --against`` or ``bench.accuracy``, by model.

    Raises
    ------
    InputError
        If it is damaged.
    """
    rows = [r for r in records if "method" in r.what]
    others = [_read(r, "accuracy", _one) for r in records if "method" not in r.what]
    models = dict.fromkeys(str(record.what["model"]) for record in rows)
    tables = (_of_model(name, [r for r in rows if r.what["model"] == name]) for name in models)
    return (*tables, *others)


def front_of(record: Record) -> Front:
    """Result of ``explore``.

    Raises
    ------
    InputError
        If it is damaged, or has no points.
    """
    return _read(record, "front", _front)


def _read(record: Record, kind: str, build: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        return build(record.values)
    except KeyError as error:
        raise InputError(f"the {kind} lacks the key {error}; {HOW[kind]}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"the {kind} is damaged ({error}); {HOW[kind]}") from error


def _synthesis(found: Mapping[str, Any]) -> Synthesis:
    """Blocks of which there are several are given once, with their count."""
    blocks = {}
    for name, cells in found["blocks"].items():
        count = int(cells.get("count", 1))
        blocks[name if count == 1 else f"{name} × {count}"] = _amount(cells).times(count)
    path, fmax = (
        None if found.get(name) is None else float(found[name]) for name in ("path_ns", "fmax_mhz")
    )
    words = (str(found[name]) for name in ("tool", "flow") if name in found)
    return Synthesis(", ".join(words), blocks, _amount(found), path, fmax)


def _amount(cells: Mapping[str, Any]) -> Amount:
    bram = cells["bram18"] if "bram18" in cells else cells["bram"]
    lut, ff, dsp, uram = (float(cells[name]) for name in ("lut", "ff", "dsp", "uram"))
    return Amount(lut, ff, dsp, float(bram), uram)


def _of_model(model: str, records: Sequence[Record]) -> Accuracy:
    """Rows of ``bench.accuracy`` for one model, ours first."""
    order = list(METHODS)
    rows = [
        (record.what["method"], str(record.what["width"]).upper(), record)
        for record in sorted(records, key=lambda r: _place(order, r.what["method"]))
    ]
    made = records[-1].made
    return Accuracy(
        MODELS.get(model, model),
        _read(records[0], "accuracy", lambda found: float(found["reference_perplexity"])),
        tuple(
            _read(record, "accuracy", partial(_score, METHODS.get(method, method), scheme))
            for method, scheme, record in rows
        ),
        f"Measured by {made.get('command')} on {made.get('computer')}, {made.get('date')}.",
    )


def _place(order: list[str], method: str) -> int:
    return order.index(method) if method in order else len(order)


def _one(found: Mapping[str, Any]) -> Accuracy:
    origin = f"Measured by lightmamba evaluate on {int(found['tokens']):,} tokens."
    name = Path(str(found["model"])).name
    reference = float(found["reference_perplexity"])
    return Accuracy(name, reference, (_score(name, "exact integers", found),), origin)


def _score(method: str, scheme: str, row: Mapping[str, Any]) -> Score:
    names = ("perplexity", "ratio", "ratio_standard_error", "kl", "top1_agreement")
    return Score(method, scheme, *(float(row[name]) for name in names))


def _front(found: Mapping[str, Any]) -> Front:
    keys = [str(objective["name"]) for objective in found["objectives"]]
    points = tuple(
        FrontPoint(_title(point), {key: float(point[key]) for key in keys})
        for point in found["points"]
    )
    if not points:
        raise ValueError("its front has no points")
    for one in (*found["points"], *found["tried"]):  # what the picture takes of each
        _ = str(one["scheme"]), float(one["device_share"]), [float(one[key]) for key in keys]
    named = {str(point["name"]) for point in found["points"]}
    if unknown := set(found["best"].values()) - named:
        raise ValueError(f"there is no point {min(unknown)}")
    origin = (
        f"Found by lightmamba explore for {found['model']}, from target {found['base_target']}."
    )
    return Front(points, origin, found)


def _title(point: Mapping[str, Any]) -> str:
    """Name of a machine, with what it is."""
    machine = point["machine"]
    return (
        f"{point['name']}: {machine['lanes']} × {machine['port_bits']} bits, "
        f"{point['clock_mhz']:g} MHz, {point['scheme'].upper()}"
    )
