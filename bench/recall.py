"""How many bits a state needs that is needed for long: recall over thousands of tokens of filler.

    python -m bench.recall                  # some minutes on two idle cores
    python -m bench.recall --models mamba2 --recipes w4a4 --states "8, dither"

A small model (:mod:`bench.recall_train`) names the values of keys that it read before the filler.
Pairs and filler are more than it was trained for: the float Mamba2 model is right in 95 to 99 % of
all cases, and whatever disturbs the state costs answers. Float model and integer engine read the
same sequences, the engine with states of several widths and roundings. A sequence is one
observation: standard errors are over sequences, and differences are taken sequence by sequence.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.recall_task import Cases, Task
from bench.recall_train import MODELS, folder
from bench.stored import keep
from lightmamba.engine import Engine
from lightmamba.evaluate.logprobs import likelihoods
from lightmamba.evaluate.model import LanguageModel, advance
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.checkpoint import Checkpoint, load_checkpoint
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.quantization import Calibration, Recipe, quantize_checkpoint

__all__ = ["STATES", "Answers", "answer", "decays", "quantized"]

STATES: dict[str, dict[str, Any]] = {
    f"{bits}, {words}": {"state_bits": bits, "state_rounding": rounding}
    for bits in (16, 12, 8)
    for words, rounding in (("half up", "half_up"), ("dither", "dither"))
}
WIDE = "16, half up"  # what the others are compared with
TRAINED, LOAD = Task(), Task(pairs=48)  # what the models were trained on, and what they are asked
SHORT, FAR = 1000, 6500  # tokens of filler
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
        Begin with an empty state before the queries.
    """
    asked = cases.answers.shape[1]
    right, nll = [], []
    for start in range(0, len(cases.ids), BATCH):
        ids, answers = (part[start : start + BATCH] for part in (cases.ids, cases.answers))
        _, state = advance(model, ids[:, :-asked], model.empty_state(len(ids)))
        if forget:
            state = model.empty_state(len(ids))
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
        if layer.mixer.sizes.kind == "mamba2"
    ]
    with torch.no_grad():
        checkpoint.model(torch.from_numpy(cases.ids))
    for hook in hooks:
        hook.remove()
    for i in seen:
        mixer, written = checkpoint.model.layers[i].mixer, 2 * task.pairs
        rates = (F.softplus(seen[i] + mixer.dt_bias) * mixer.A_log.exp()).detach().double()
        pairs, filler = rates[:, :written], rates[:, written : -task.pairs]
        left = (-filler.sum(1)).exp().mean(0)
        for head in range(mixer.sizes.nheads):
            yield {
                "layer": i, "head": head, "filler": float(filler[..., head].mean()),
                "pairs": float(pairs[..., head].mean()), "left": float(left[head]),
            }  # fmt: skip


def quantized(checkpoint: Checkpoint, recipe: str, sequences: int) -> QuantizedModel:
    """Quantize, calibrated on sequences such as the model was trained on."""
    cases = TRAINED.cases(sequences, SHORT, np.random.default_rng(CALIBRATION))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "ids.txt"
        file.write_text(" ".join(map(str, cases.ids.ravel())), encoding="utf-8")
        calibration = Calibration(ids=file, sequences=sequences, seqlen=cases.ids.shape[1])
        return quantize_checkpoint(checkpoint, Recipe.load(recipe), calibration)


def drawn(distance: int, count: int) -> Cases:
    """The sequences of a distance, the same on every run."""
    return LOAD.cases(count, distance, np.random.default_rng((CASES, distance)))


def of_float(model: FloatModel, count: int) -> Iterator[dict[str, Any]]:
    """The float model by distance, and with its state cleared."""
    for distance in (SHORT, FAR):
        yield {
            "distance": distance,
            "cleared": False,
            **answer(model, drawn(distance, count)).row(),
        }
    found = answer(model, drawn(SHORT, count), forget=True)
    yield {"distance": SHORT, "cleared": True, **found.row()}


def measure(name: str, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of a model."""
    checkpoint = load_checkpoint(folder(name))
    real = FloatModel(checkpoint.model, checkpoint.valid_vocab)
    for row in of_float(real, args.cases):
        of = f"{row['distance']}{', state cleared' * row['cleared']}"
        yield {"part": "float", "row": f"{name}, {of}", **row}
    cases = drawn(FAR, args.cases)
    wanted = answer(real, cases)
    for recipe in args.recipes:
        whole = quantized(checkpoint, recipe, args.sequences)
        for row in engines(whole, cases, wanted, args):
            of = f"{name}, {recipe}, {row['state']}"
            yield {"part": "quantized", "row": of, "recipe": recipe, "distance": FAR, **row}
    for row in decays(checkpoint, LOAD, drawn(SHORT, 32)):
        of = f"{name}, layer {row['layer']}, head {row['head']}"
        yield {"part": "decays", "row": of, **row}


def engines(
    model: QuantizedModel, cases: Cases, real: Answers, args: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Recall of the engine by state, widest first, next to the float model."""
    wide: Answers | None = None
    for state in dict.fromkeys((WIDE, *args.states)):
        changed = replace(model, formats=replace(model.formats, **STATES[state]))
        engine = Engine(changed, threads=args.threads)
        found = answer(engine, cases)
        wide = wide or found
        yield {
            "state": state, **found.row(), "against_float": found.less(real),
            "against_wide": found.less(wide), "overflows": engine.counters["ssm.h"],
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--recipes", nargs="*", default=["w8a8", "w4a8", "w4a4"])
    parser.add_argument("--states", nargs="*", default=list(STATES), choices=list(STATES))
    parser.add_argument("--cases", type=int, default=64, help="sequences")
    parser.add_argument("--sequences", type=int, default=64, help="of the calibration")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.models:
        for row in measure(name, args):
            keep("recall", {"model": name, **row, "cases": args.cases, "queries": LOAD.pairs})


if __name__ == "__main__":
    main()
