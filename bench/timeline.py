"""Draw one layer of a simulated token, unit by unit: ``python -m bench.timeline``."""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.support.machine import Kind

from lightmamba.arch.target import Target
from lightmamba.device.sim import open_device
from lightmamba.device.sim.activity import unit_cycles
from lightmamba.device.sim.observe import Record, rows_of
from lightmamba.device.sim.vectors import vector_of
from lightmamba.hardware.compiler import build
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import load

PICTURE = Path(__file__).parents[1] / "docs/explanation/one-token.png"
BIN = 8  # cycles


def main() -> None:
    parser = argparse.ArgumentParser(description="timeline of one layer from a simulation")
    parser.add_argument("-o", "--output", type=Path, default=PICTURE)
    args = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    model = load(demo_file())
    with tempfile.TemporaryDirectory() as folder:
        artifact = build(model, Target.load("tiny"), Path(folder) / "build")
        device = open_device(artifact)
        for n in range(2):
            device.probes()
            device.start(5, fresh=n == 0)
            device.wait()
        probes = device.probes()
        seen = vector_of(artifact.arch, probes, 0) | {"updates": probes["updates"]}
        device.simulator.close()
    rows, arch = rows_of(seen), artifact.arch
    of_in = rows.cycles[rows["kind"] <= Kind.Z].astype(np.int64).reshape(model.config.n_layer, -1)
    start, next_in = int(of_in[1][0]), of_in[2]
    end = int(next_in[0]) + (int(of_in[1][-1]) - start) // 4

    figure, axes = plt.subplots(figsize=(10, 4.2), layout="constrained")
    units = {
        name: x for name, x in unit_cycles(seen, arch.kinds).items() if name != "rows of the head"
    }
    for place, cycles in enumerate(units.values()):
        axes.broken_barh(spans(cycles[(cycles >= start - 200) & (cycles < end)] - start),
                         (place - 0.4, 0.8), color="#1f4e79")  # fmt: skip
    for edge, name in ((0, "in_proj"), (_first(rows, Kind.OUT, start), "out_proj"),
                       (int(next_in[0]) - start, "next layer's in_proj")):  # fmt: skip
        axes.axvline(edge, color="#c00000", linewidth=0.8)
        axes.text(edge, -0.75, f" {name}", color="#c00000", fontsize=8, va="bottom")
    axes.set_yticks(range(len(units)), list(units))
    axes.invert_yaxis()
    axes.set_xlim(-60, end - start)
    axes.set_xlabel("cycles from the layer's first row")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(args.output, dpi=130)
    print(args.output)


def _first(rows: Record, kind: Kind, start: int) -> int:
    cycles = rows.cycles[rows["kind"] == kind].astype(np.int64)
    return int(cycles[cycles > start][0]) - start


def spans(cycles: NDArray[np.int64]) -> list[tuple[float, float]]:
    """Stretches in which something passes at least once in every few cycles."""
    bins = np.unique(cycles // BIN)
    if not len(bins):
        return []
    breaks = np.flatnonzero(np.diff(bins) > 1)
    first, last = bins[np.r_[0, breaks + 1]], bins[np.r_[breaks, len(bins) - 1]]
    return [(float(a * BIN), float((b - a + 1) * BIN)) for a, b in zip(first, last, strict=True)]


if __name__ == "__main__":
    main()
