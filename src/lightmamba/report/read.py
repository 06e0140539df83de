"""Stored results: what other verbs printed or wrote, read back and checked."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lightmamba.errors import InputError
from lightmamba.estimate.result import Amount
from lightmamba.report.contents import Accuracy, Front, FrontPoint, Score, Subject, Synthesis
from lightmamba.sim import Simulation

__all__ = [
    "METHODS", "Results", "read_accuracy", "read_front", "read_results", "read_simulation",
    "read_synthesis",
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


@dataclass(frozen=True)
class Results:
    """What some folders hold."""

    simulation: Simulation | None = None
    synthesis: Synthesis | None = None
    accuracy: tuple[Accuracy, ...] = ()
    front: Front | None = None


def read_results(folders: list[Path], subject: Subject) -> Results:
    """Read simulation, synthesis, accuracy and front, each a ``.json``, as far as they are there.

    Of a file that several folders have, the first one's counts.

    Raises
    ------
    InputError
        If a folder has none of them, or a file is not what its name says.
    """
    names = [f"{kind}.json" for kind in ("simulation", "synthesis", "accuracy", "front")]
    for folder in folders:
        if not any((folder / name).is_file() for name in names):
            raise InputError(f"{folder} has none of {', '.join(names)}; give a folder with results")
    paths = [next((f / n for f in folders if (f / n).is_file()), None) for n in names]
    simulation, synthesis, accuracy, front = paths
    return Results(
        None if simulation is None else read_simulation(simulation, subject),
        None if synthesis is None else read_synthesis(synthesis, subject),
        () if accuracy is None else read_accuracy(accuracy),
        None if front is None else read_front(front),
    )


def read_simulation(path: Path, subject: Subject) -> Simulation:
    """What ``simulate --json`` printed or ``--timeline`` wrote.

    Raises
    ------
    InputError
        If it is something else, or of another machine than ``subject``.
    """
    how = "write one with: lightmamba simulate BUILD --timeline FILE"
    found = _read(path, Simulation.from_dict, how)
    for name, mine in subject.machine.items():
        if (theirs := found.machine.get(name)) != mine:
            which = f"; its {name} is {theirs}, not {mine}" if not isinstance(mine, dict) else ""
            raise InputError(
                f"{path} is of another {name} than {subject.name} on {subject.target.name}{which}"
            )
    if found.memory_stalls:
        raise InputError(
            f"{path} is of a run with memory that stalled at random (--stalls "
            f"{found.memory_stalls:g}), so its speed is not the machine's; leave --stalls out"
        )
    if not set(subject.machine["attainable_gb_per_s"]) <= set(found.bytes_per_token):
        raise InputError(f"{path} lacks channels of {subject.target.name}; {how}")
    return found


def read_synthesis(path: Path, subject: Subject) -> Synthesis:
    """What ``synth --json`` printed.

    Raises
    ------
    InputError
        If it is something else, or of another target than ``subject``.
    """

    def build(found: Mapping[str, Any]) -> Synthesis:
        if (target := found["target"]) != subject.target.name:
            raise ValueError(f"it is of target {target}, not of {subject.target.name}")
        return _synthesis(found)

    return _read(path, build, "write one with: lightmamba synth BUILD --flow xcup --json")


def read_accuracy(path: Path) -> tuple[Accuracy, ...]:
    """What ``bench.accuracy`` wrote, or ``evaluate --against --json`` printed.

    Raises
    ------
    InputError
        If it is something else.
    """
    how = "write one with: lightmamba evaluate FILE --text TEXT --against CKPT --json"
    return _read(path, lambda found: _bench(found) if "results" in found else _one(found), how)


def read_front(path: Path) -> Front:
    """What ``explore`` wrote.

    Raises
    ------
    InputError
        If it is something else, or has no points.
    """
    return _read(path, _front, "write one with: lightmamba explore SHAPE --target NAME --out DIR")


def _read(path: Path, build: Callable[[Mapping[str, Any]], T], how: str) -> T:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise TypeError("it is no JSON object")
        return build(values)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; {how}") from error
    except KeyError as error:
        raise InputError(f"{path} lacks the key {error}; {how}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not such a file ({error}); {how}") from error


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


def _bench(found: Mapping[str, Any]) -> tuple[Accuracy, ...]:
    rows = list(found["results"])
    origin = f"Measured by {found['command']} on {found['machine']}, {found['date']}."
    models = dict.fromkeys(str(row["model"]) for row in rows)
    order = list(METHODS)
    rows.sort(key=lambda row: order.index(row["method"]) if row["method"] in order else len(order))
    return tuple(
        Accuracy(
            MODELS.get(model, model),
            float(next(row["reference_perplexity"] for row in rows if row["model"] == model)),
            tuple(
                _score(row, METHODS.get(row["method"], row["method"]), row["width"].upper())
                for row in rows
                if row["model"] == model
            ),
            origin,
        )
        for model in models
    )


def _one(found: Mapping[str, Any]) -> tuple[Accuracy, ...]:
    origin = f"Measured by lightmamba evaluate on {int(found['tokens']):,} tokens."
    name = Path(str(found["model"])).name
    reference = float(found["reference_perplexity"])
    return (Accuracy(name, reference, (_score(found, name, "exact integers"),), origin),)


def _score(row: Mapping[str, Any], method: str, scheme: str) -> Score:
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
