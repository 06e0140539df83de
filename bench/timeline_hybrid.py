"""Draw an attention layer of a simulated token of the bundled hybrid, unit by unit, and the MLP
behind it: ``python -m bench.timeline_hybrid``.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.timeline import spans
from lightmamba.arch.target import Target
from lightmamba.device.sim import open_twin
from lightmamba.device.sim.activity import unit_cycles
from lightmamba.engine.synthetic import random_state
from lightmamba.hardware.compiler import build
from lightmamba.model.data import hybrid_file
from lightmamba.model.qmodel import load

PICTURE = Path(__file__).parents[1] / "docs/explanation/hybrid-token.png"
POSITIONS = 160  # before the token: five pages
MARGIN = 300  # cycles that are shown of the layers before and behind


def simulated() -> tuple[dict[str, Any], dict[str, Any]]:
    """Probes of a token, and the cycles of each unit's work."""
    model, seen = load(hybrid_file()), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        path = build(
            model, Target.load("tiny"), Path(folder) / "build", context=POSITIONS + 32
        ).path  # fmt: skip
        opened = open_twin(path)
        opened.twin.go_on(random_state(model, POSITIONS))
        opened.twin.watch = seen.update
        if (step := opened.twin.feed(5)).difference is not None:
            raise SystemExit(step.difference)
        kinds = opened.twin.arch.kinds
        opened.device.close()
    return seen, unit_cycles(seen, kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description="timeline of an attention layer")
    parser.add_argument("-o", "--output", type=Path, default=PICTURE)
    args = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    seen, units = simulated()
    rows, means, hidden = (seen[name].cycles.astype(np.int64) for name in ("qkv", "mean", "hidden"))
    start = int(rows[0])
    behind = hidden[hidden > means[means > start][0]]
    end = int(behind[0]) + MARGIN
    shown = {
        name: cycles for name, cycles in units.items()
        if np.any((cycles >= start - MARGIN) & (cycles < end))
    }  # fmt: skip
    figure, axes = plt.subplots(figsize=(10, 0.3 * len(shown) + 1), layout="constrained")
    for place, cycles in enumerate(shown.values()):
        mine = cycles[(cycles >= start - MARGIN) & (cycles < end)] - start
        axes.broken_barh(spans(mine), (place - 0.4, 0.8), color="#1f4e79")
    for edge, name in ((0, "attention: rows of q"), (int(behind[0]) - start, "MLP")):
        axes.axvline(edge, color="#c00000", linewidth=0.8)
        axes.text(edge, -0.75, f" {name}", color="#c00000", fontsize=8, va="bottom")
    axes.set_yticks(range(len(shown)), list(shown))
    axes.invert_yaxis()
    axes.set_xlim(-MARGIN, end - start)
    axes.set_xlabel("cycles from the attention layer's first quantized row")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(args.output, dpi=130)
    print(args.output)


if __name__ == "__main__":
    main()
