"""Draw layers of a simulated token, unit by unit: ``python -m bench.timeline [NAME ...]``.

``mamba2``: a layer of the bundled model. ``hybrid``: an attention layer of the bundled hybrid, and
the MLP after it. ``experts``: a layer of the bundled model with experts.
"""

import tempfile
from pathlib import Path
from typing import Any

from bench.common import ROOT, asked
from lightmamba.arch.target import Target
from lightmamba.device.sim import open_golden
from lightmamba.device.sim.activity import Strip, activity
from lightmamba.engine.state import random_state
from lightmamba.hardware.compiler import build
from lightmamba.model.data import demo_file, experts_file, hybrid_file
from lightmamba.model.qmodel import load
from lightmamba.study.plots.style import png
from lightmamba.study.plots.timeline import timeline

FOLDER = ROOT / "docs/explanation"
# Model, layer (the first with attention), tokens before (five pages), the most there may be, file.
PICTURES: dict[str, tuple[Path, int | None, int, int | None, str]] = {
    "mamba2": (demo_file(), 1, 1, None, "one-token.png"),
    "hybrid": (hybrid_file(), None, 160, 192, "hybrid-token.png"),
    "experts": (experts_file(), 1, 160, 192, "experts-token.png"),
}


def simulated(file: Path, layer: int | None, positions: int, context: int | None) -> Strip:
    """A layer of a token after some positions, by default the first with attention."""
    model, seen = load(file), dict[str, Any]()
    layers = model.config.layers
    with tempfile.TemporaryDirectory() as folder:
        path = build(model, Target.load("tiny"), Path(folder) / "build", context=context).path
        opened = open_golden(path)
        opened.golden.go_on(random_state(model, positions))
        opened.golden.watch = seen.update
        if (step := opened.golden.feed(5)).difference is not None:
            raise SystemExit(step.difference)
        kinds = opened.golden.arch.kinds
        opened.device.close()
    if layer is None:
        layer = [each.kind for each in layers].index("attention")
    return activity(seen, [each.entering_rows for each in layers], kinds, layer).of_layer


def main() -> None:
    """Draw the pictures named, or all."""
    for name in asked(__doc__, PICTURES).row:
        model, layer, positions, context, file = PICTURES[name]
        strip = simulated(model, layer, positions, context)
        png(timeline(strip.start, strip.bin_cycles, strip.busy, strip.marks), FOLDER / file)
        print((FOLDER / file).relative_to(ROOT))


if __name__ == "__main__":
    main()
