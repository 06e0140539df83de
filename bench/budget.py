"""KL divergence and bytes per token, for budgets of bits: ``python -m bench.budget [MODEL ...]``.

The projections of each bundled model are ranked once. Each budget then makes a model of its own,
which is compared with the float model on the text that neither calibration nor ranking saw. Half an
hour for each model on two quiet cores.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.accuracy import measure
from bench.common import asked
from bench.stored import keep
from lightmamba.model.checkpoint import open_checkpoint
from lightmamba.model.data import BUNDLED, HYBRID, bundled_checkpoint
from lightmamba.quantization import Calibration, FileRun, Recipe, quantize_checkpoint
from lightmamba.quantization.budget import Budget, Ranking, choose

MODELS = (BUNDLED, HYBRID)
EVERY = Budget(8, 8)
BUDGETS = (  # mean bits of weights and of activations
    (4, 4), (4.3, 4), (5, 4), (8, 4), (4, 4.3), (4, 5), (4.3, 5), (5, 5), (4, 8), (5, 8), (8, 8),
)  # fmt: skip


def curve(model: str, args: Any) -> Iterator[dict[str, Any]]:
    """A row for each budget."""
    checkpoint, calibration = open_checkpoint(bundled_checkpoint(model)), Calibration()
    ids, kind = calibration.tokens(checkpoint, 0)
    recipe, threads = Recipe.load("w4a4"), args.threads
    with tempfile.TemporaryDirectory() as folder:
        run = FileRun(checkpoint, recipe, ids, kind, Path(folder) / "m", threads=threads)
        with Ranking(run, EVERY) as ranking:
            ranking.quantize(_quiet)
            costs = ranking.measure(_quiet)
    for weights, activations in BUDGETS:
        choice = choose(recipe, costs, Budget(weights, activations))
        make = partial(quantize_checkpoint, checkpoint, choice.recipe, calibration, threads=threads)
        found = measure(make, args, "hybrid" if model == HYBRID else "bundled")
        mine = {"weights": weights, "activations": activations, "cycles": choice.cycles}
        yield found | mine | {
            "model": model, "bits": choice.bits, "recipe": choice.recipe.to_toml(),
        }  # fmt: skip


def _quiet(done: float, total: float) -> None:
    pass


def main() -> None:
    """Measure the curves of the models named, or of both."""
    options: dict[str, dict[str, Any]] = {"threads": {"type": int, "default": 2, "help": "(2)"}}
    args = asked(__doc__, MODELS, **options)
    torch.set_num_threads(args.threads)
    for model in args.row:
        for row in curve(model, args):
            keep("budget", row)


if __name__ == "__main__":
    main()
