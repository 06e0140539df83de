"""Draw layers of a simulated token, unit by unit: ``python -m bench.timeline [mamba2] [hybrid]``.

One layer of the bundled model; an attention layer of the bundled hybrid, and the MLP after it.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common import ROOT
from lightmamba.arch.target import Target
from lightmamba.device.sim import open_twin
from lightmamba.device.sim.activity import unit_cycles
from lightmamba.device.sim.observe import rows_of
from lightmamba.engine.synthetic import random_state
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.kinds import machine
from lightmamba.model.data import demo_file, hybrid_file
from lightmamba.model.qmodel import load

FOLDER = ROOT / "docs/explanation"
BIN = 8  # cycles
POSITIONS = 160  # before the hybrid's token: five pages
Cycles = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Part of a token that is shown.

    Parameters
    ----------
    seen : {probe: Record}
        What the simulation showed.
    start, before, after : int
        Cycle 0 of the picture, and how many are shown before and after it.
    marks : sequence of (cycle, name)
    label : str
        Of cycle 0.
    kinds : tuple of str
        Of layers, which the machine has.
    """

    seen: Mapping[str, Any]
    start: int
    before: int
    after: int
    marks: Sequence[tuple[int, str]]
    label: str
    kinds: tuple[str, ...]


def simulated(
    file: Path, positions: int, context: int | None = None
) -> tuple[dict[str, Any], tuple[str, ...], int]:
    """Probes of a token after some positions, the machine's kinds, and the layers of the model."""
    model, seen = load(file), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        path = build(model, Target.load("tiny"), Path(folder) / "build", context=context).path
        opened = open_twin(path)
        opened.twin.go_on(random_state(model, positions))
        opened.twin.watch = seen.update
        if (step := opened.twin.feed(5)).difference is not None:
            raise SystemExit(step.difference)
        kinds = opened.twin.arch.kinds
        opened.device.close()
    return seen, kinds, model.config.n_layer


def mamba2() -> Part:
    """The second layer, and the beginning of the third."""
    seen, kinds, layers = simulated(demo_file(), 1)
    rows, graph = rows_of(seen), machine(kinds)
    of = np.isin(rows["kind"], [graph.kinds[row.name] for row in graph.rows])
    of_in = rows.cycles[of].astype(np.int64).reshape(layers, -1)
    out = rows.cycles[rows["kind"] == graph.kinds["out"]].astype(np.int64)
    start, then = int(of_in[1][0]), int(of_in[2][0])
    end = then + (int(of_in[1][-1]) - start) // 4
    marks = [(0, "in_proj"), (int(out[out > start][0]) - start, "out_proj"),
             (then - start, "next layer's in_proj")]  # fmt: skip
    label = "cycles from the layer's first row"
    return Part(seen, start, 60, end - start, marks, label, kinds)


def hybrid() -> Part:
    """An attention layer, and the MLP after it."""
    seen, kinds, _ = simulated(hybrid_file(), POSITIONS, POSITIONS + 32)
    rows, means, hidden = (seen[name].cycles.astype(np.int64) for name in ("qkv", "mean", "hidden"))
    start = int(rows[0])
    then = int(hidden[hidden > means[means > start][0]][0]) - start
    marks = [(0, "attention: rows of q"), (then, "MLP")]
    label = "cycles from the attention layer's first quantized row"
    return Part(seen, start, 300, then + 300, marks, label, kinds)


def draw(part: Part, path: Path) -> None:
    """Draw the units that work in a part of a token."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    units = {name: x - part.start for name, x in unit_cycles(part.seen, part.kinds).items()}
    mine = {name: x[(x >= -part.before) & (x < part.after)] for name, x in units.items()}
    shown = {name: x for name, x in mine.items() if len(x)}
    figure, axes = plt.subplots(figsize=(10, 0.3 * len(shown) + 1), layout="constrained")
    for place, cycles in enumerate(shown.values()):
        axes.broken_barh(spans(cycles), (place - 0.4, 0.8), color="#1f4e79")
    for edge, name in part.marks:
        axes.axvline(edge, color="#c00000", linewidth=0.8)
        axes.text(edge, -0.75, f" {name}", color="#c00000", fontsize=8, va="bottom")
    axes.set_yticks(range(len(shown)), list(shown))
    axes.invert_yaxis()
    axes.set_xlim(-part.before, part.after)
    axes.set_xlabel(part.label)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=130)
    print(path.relative_to(ROOT))


def spans(cycles: Cycles) -> list[tuple[float, float]]:
    """Stretches in which something passes at least once in every few cycles."""
    bins = np.unique(cycles // BIN)
    if not len(bins):
        return []
    breaks = np.flatnonzero(np.diff(bins) > 1)
    first, last = bins[np.r_[0, breaks + 1]], bins[np.r_[breaks, len(bins) - 1]]
    return [(float(a * BIN), float((b - a + 1) * BIN)) for a, b in zip(first, last, strict=True)]


PICTURES = {"mamba2": (mamba2, "one-token.png"), "hybrid": (hybrid, "hybrid-token.png")}


def main() -> None:
    parser = argparse.ArgumentParser(description="timelines of layers from simulations")
    parser.add_argument("picture", nargs="*", help=f"{' or '.join(PICTURES)} (both)")
    names = parser.parse_args().picture or [*PICTURES]
    if unknown := set(names) - set(PICTURES):
        parser.error(f"no picture {min(unknown)}; there are {' and '.join(PICTURES)}")
    for name in names:
        make, file = PICTURES[name]
        draw(make(), FOLDER / file)


if __name__ == "__main__":
    main()
