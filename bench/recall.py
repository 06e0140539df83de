"""How many bits a state needs that is needed for long: recall over 1,000 tokens of filler.

    python -m bench.recall                  # some minutes on an idle core
    python -m bench.recall --recipes w4a4 --distances 1000 --states "8, dither"

A small model (:mod:`bench.recall_train`) names the values of keys that it read before the filler.
Float model and integer engine read the same sequences, the engine with states of several widths,
roundings and updates. A sequence is one observation: standard errors are over sequences, and
differences are taken sequence by sequence.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.recall_task import Cases, Task
from bench.recall_train import FOLDER
from bench.stored import keep
from lightmamba.engine import Engine
from lightmamba.evaluate.logprobs import likelihoods
from lightmamba.evaluate.model import LanguageModel, advance
from lightmamba.model.causal_lm import FloatModel, FloatState
from lightmamba.model.checkpoint import Checkpoint, load_checkpoint
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.ssm import SsmStep
from lightmamba.numerics.ssm_update import FrameUpdate
from lightmamba.quantization import Calibration, Recipe, quantize_checkpoint

__all__ = ["STATES", "UPDATES", "Answers", "answer", "decays", "quantized"]

STATES: dict[str, dict[str, Any]] = {
    f"{bits}, {words}": {"state_bits": bits, "state_rounding": rounding}
    for bits in (16, 12, 8)
    for words, rounding in (("half up", "half_up"), ("dither", "dither"))
}
WIDE = "16, half up"  # what the others are compared with
# Ways to update the state: that of the project, and others in place of SsmStep.update, on numpy.
Update = Callable[..., tuple[Ints, Ints, int]]
OWN = "the project's"
UPDATES: dict[str, Update | None] = {
    OWN: None,
    "32-bit frame": lambda step, *values: FrameUpdate(step.scale, step.rounding)(*values),
}
DISTANCES = (1000, 4000)
NEARER = (0, 100)  # for the float model only
BATCH = 64  # sequences that are read together
CALIBRATION, CASES = 2, 3  # first part of seeds; that of training is 1


@dataclass(frozen=True)
class Answers:
    """Answers of a model, one row per sequence.

    Parameters
    ----------
    right
        (cases,): share of right answers.
    nll
        (cases,): negative log-likelihood of the right answers in nats, mean.
    """

    right: NDArray[np.float64]
    nll: NDArray[np.float64]

    def row(self) -> dict[str, float]:
        """Means and their standard errors."""
        return {**_mean("accuracy", self.right), **_mean("nll", self.nll)}

    def less(self, other: "Answers") -> dict[str, float]:
        """This one minus another one on the same sequences, mean and standard error."""
        return Answers(self.right - other.right, self.nll - other.nll).row()


def _mean(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return {name: float(values.mean()), f"{name}_standard_error": error}


def answer(model: LanguageModel, cases: Cases, *, forget: bool = False) -> Answers:
    """Let a model read the sequences and answer.

    Parameters
    ----------
    model
        Float model or engine.
    cases
        Sequences of one length.
    forget
        Clear the states of a float model before the queries.
    """
    asked = cases.answers.shape[1]
    right, nll = [], []
    for start in range(0, len(cases.ids), BATCH):
        ids, answers = (part[start : start + BATCH] for part in (cases.ids, cases.answers))
        _, state = advance(model, ids[:, :-asked], model.empty_state(len(ids)))
        if forget:
            assert isinstance(state, FloatState)
            for cache in state.caches:
                cache.values().zero_()
        logits, _ = model.forward(ids[:, -asked:], state, last_only=False)
        found = likelihoods(model, logits.reshape(answers.size, -1), answers.ravel())
        right.append((found.likeliest.reshape(answers.shape) == answers).mean(1))
        nll.append(found.nll.reshape(answers.shape).mean(1))
    return Answers(np.concatenate(right), np.concatenate(nll))


def decays(checkpoint: Checkpoint, task: Task, cases: Cases) -> Iterator[dict[str, Any]]:
    """How fast each head forgets: dt·|A| per token of filler and of the pairs, means.

    ``left`` is the share of the state that is left behind the filler, a mean over sequences.
    """
    seen: dict[int, Tensor] = {}
    hooks = [
        layer.mixer.in_proj.register_forward_hook(
            lambda _, __, out, i=i, heads=layer.mixer.sizes.nheads: seen.update(
                {i: out[..., -heads:]}
            )
        )
        for i, layer in enumerate(checkpoint.model.layers)
    ]
    with torch.no_grad():
        checkpoint.model(torch.from_numpy(cases.ids))
    for hook in hooks:
        hook.remove()
    for i, layer in enumerate(checkpoint.model.layers):
        mixer, written = layer.mixer, 2 * task.pairs
        rates = (F.softplus(seen[i] + mixer.dt_bias) * mixer.A_log.exp()).detach().double()
        pairs, filler = rates[:, :written], rates[:, written : -task.pairs]
        left = (-filler.sum(1)).exp().mean(0)
        for head in range(mixer.sizes.nheads):
            yield {
                "layer": i, "head": head, "filler": float(filler[..., head].mean()),
                "pairs": float(pairs[..., head].mean()), "left": float(left[head]),
            }  # fmt: skip


def quantized(checkpoint: Checkpoint, task: Task, recipe: str, sequences: int) -> QuantizedModel:
    """Quantize, calibrated on sequences of the task over 1,000 tokens of filler."""
    cases = task.cases(sequences, 1000, np.random.default_rng(CALIBRATION))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ids.txt"
        file.write_text(" ".join(map(str, cases.ids.ravel())), encoding="utf-8")
        calibration = Calibration(ids=file, sequences=sequences, seqlen=cases.ids.shape[1])
        return quantize_checkpoint(checkpoint, Recipe.load(recipe), calibration)


def drawn(task: Task, distance: int, count: int) -> Cases:
    """The sequences of a distance, the same on every run."""
    return task.cases(count, distance, np.random.default_rng((CASES, distance)))


def of_float(checkpoint: Checkpoint, task: Task, count: int) -> Iterator[dict[str, Any]]:
    """The float model by distance, and with its state cleared."""
    model = FloatModel(checkpoint.model, checkpoint.valid_vocab)
    for distance in (*NEARER, *DISTANCES):
        found = answer(model, drawn(task, distance, count))
        yield {"distance": distance, "cleared": False, **found.row()}
    found = answer(model, drawn(task, DISTANCES[0], count), forget=True)
    yield {"distance": DISTANCES[0], "cleared": True, **found.row()}


def measure(args: argparse.Namespace) -> None:
    """Measure and keep all that the command line asks for; rows are printed as they come."""
    checkpoint, task = load_checkpoint(FOLDER), Task()
    size = {"cases": args.cases, "queries": task.pairs}
    for row in of_float(checkpoint, task, args.cases):
        name = f"{row['distance']}{', state cleared' * row['cleared']}"
        keep("recall", {"part": "float", "row": name, **row, **size})
    model = FloatModel(checkpoint.model, checkpoint.valid_vocab)
    for recipe in args.recipes:
        whole = quantized(checkpoint, task, recipe, args.sequences)
        for distance in args.distances:
            cases = drawn(task, distance, args.cases)
            for row in engines(whole, cases, answer(model, cases), args):
                name = f"{recipe}, {distance}, {row['state']}, {row['update']}"
                of = {"part": "quantized", "row": name, "recipe": recipe, "distance": distance}
                keep("recall", {**of, **row, **size})
    for row in decays(checkpoint, task, drawn(task, DISTANCES[0], 32)):
        name = f"layer {row['layer']}, head {row['head']}"
        keep("recall", {"part": "decays", "row": name, **row, **size})


def engines(
    model: QuantizedModel, cases: Cases, real: Answers, args: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Recall of the engine by state width and update, widest first, next to the float model."""
    wide: Answers | None = None
    asked = [(s, OWN) for s in args.states if OWN in args.updates and s != WIDE]
    narrow = [
        s for s in args.states if STATES[s]["state_bits"] == 8
    ]  # others are in 32 bits anyway
    asked += [(s, u) for u in args.updates for s in narrow if u != OWN]
    for state, name in [(WIDE, OWN), *asked]:
        changed = replace(model, formats=replace(model.formats, **STATES[state]))
        update = UPDATES[name]
        engine = Engine(changed, compiled=update is None, threads=args.threads)
        with patch.object(SsmStep, "update", update) if update else nullcontext():
            found = answer(engine, cases)
        wide = wide or found
        yield {
            "state": state, "update": name, **found.row(), "against_float": found.less(real),
            "against_wide": found.less(wide), "overflows": engine.counters["ssm.h"],
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="*", default=["w8a8", "w4a4"])
    parser.add_argument("--distances", nargs="*", type=int, default=list(DISTANCES))
    parser.add_argument("--states", nargs="*", default=list(STATES), choices=list(STATES))
    parser.add_argument("--updates", nargs="*", default=list(UPDATES), choices=list(UPDATES))
    parser.add_argument("--cases", type=int, default=64, help="sequences at each distance")
    parser.add_argument("--sequences", type=int, default=64, help="of the calibration")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    measure(args)


if __name__ == "__main__":
    main()
