"""Train the small models of bench.recall, which recall over 1,000 tokens of filler.

    python -m bench.recall_train            # some minutes on an idle core
    python -m bench.recall_train --model hybrid
    python -m bench.recall_train --steps 20 -o build/recall

Plain training on fresh sequences; the loss is that of the answers alone. The filler grows from a
few tokens to the longest distance, each time that the model is right often enough. The sequences
of a step depend on the seed and the steps before it alone. Nothing here knows of quantization.
"""

import argparse
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from bench.recall_task import Task
from lightmamba.blocks import kind
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import save_checkpoint
from lightmamba.model.config import ModelConfig, mamba2_config
from lightmamba.model.train import TrainOptions, initialize, learning_rate, optimizers

__all__ = ["MODELS", "Distance", "RecallOptions", "folder", "train"]


@dataclass(frozen=True)
class RecallOptions:
    """Sizes of the model and of its training."""

    layers: str = "MM"  # M is a Mamba2 layer, * attention, - a gated MLP
    d_model: int = 64
    d_hidden: int = 64  # of an MLP
    d_state: int = 64
    headdim: int = 32
    steps: int = 1600
    decay: float = 0.25  # share of the steps in which the learning rate falls to zero
    tokens: int = 4096  # of a step, about
    lr: float = 1e-2
    slowest: float = 0.01  # |A| of the first head before training
    fastest: float = 1.0  # of the last
    first: int = 16  # longest distance at the start
    longest: int = 1000  # and at the end
    grow: float = 1.5
    enough: float = 0.95  # share of right answers from which the distance grows
    seed: int = 1

    def config(self, task: Task) -> ModelConfig:
        """Sizes of the model; attention has two heads that share keys and values."""
        plain = mamba2_config(
            self.d_model, 1, task.vocab_size, headdim=self.headdim, d_state=self.d_state
        )
        attention, mlp = (
            kind("attention").Sizes(2, 1, self.headdim),
            kind("mlp").Sizes(self.d_hidden),
        )
        kinds = {"M": plain.layers[0], "*": attention, "-": mlp}
        return replace(plain, layers=tuple(kinds[letter] for letter in self.layers))

    @property
    def plain(self) -> TrainOptions:
        """The part of it that training on text has too."""
        return TrainOptions(
            steps=self.steps, decay=self.decay, lr=self.lr, weight_decay=0.0, seed=self.seed
        )


MODELS = {"mamba2": RecallOptions(), "hybrid": RecallOptions(layers="M-*-M-")}


def folder(model: str) -> Path:
    """Folder of one of the stored models."""
    return Path(__file__).parent / "models" / f"recall-{model}"


class Distance:
    """The filler of each step: the longest that there is so far, or, half of the time, less."""

    def __init__(self, o: RecallOptions) -> None:
        self.options, self.longest, self.right = o, o.first, 0.0

    def draw(self, rng: np.random.Generator) -> int:
        """Tokens of filler."""
        return self.longest if rng.random() < 0.5 else int(rng.integers(self.longest + 1))

    def seen(self, right: float) -> None:
        """Take note of the share of right answers of a step, and grow where it is enough."""
        o = self.options
        self.right += 0.05 * (right - self.right)
        if self.right > o.enough and self.longest < o.longest:
            self.longest = min(o.longest, math.ceil(self.longest * o.grow))
            self.right = o.enough - 0.15  # so that some steps at the new one come first


def start(o: RecallOptions, task: Task) -> CausalLM:
    """An untrained model, whose heads forget slowly and at different rates."""
    model = CausalLM(o.config(task))
    initialize(model, o.seed)
    slowest, fastest = math.log(o.slowest), math.log(o.fastest)
    with torch.no_grad():
        for mixer in (layer.mixer for layer in model.layers if layer.mixer.sizes.kind == "mamba2"):
            mixer.A_log.copy_(torch.linspace(slowest, fastest, len(mixer.A_log)))
    return model


def train(o: RecallOptions, task: Task) -> CausalLM:
    """Train a model on the task."""
    model, distance = start(o, task), Distance(o)
    steps = optimizers(model, o.plain)
    bar = tqdm(range(o.steps), unit="step", mininterval=10)
    for step in bar:
        rng = np.random.default_rng((o.seed, step))
        filler = distance.draw(rng)
        cases = task.cases(max(1, o.tokens // task.tokens(filler)), filler, rng)
        answers = torch.from_numpy(cases.answers)
        logits, _ = model(torch.from_numpy(cases.ids))
        logits = logits[:, -task.pairs :]
        loss = F.cross_entropy(logits.flatten(0, 1), answers.flatten())
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in steps:
            for group in optimizer.param_groups:
                group["lr"] = o.lr * learning_rate(step, o.plain)
            optimizer.step()
            optimizer.zero_grad()
        distance.seen(float((logits.argmax(-1) == answers).float().mean()))
        if (step + 1) % 50 == 0:
            tqdm.write(
                f"step {step + 1}: filler up to {distance.longest}, loss {loss.item():.3f}, "
                f"right {distance.right:.3f}",
                file=sys.stderr,
            )
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="mamba2")
    parser.add_argument("-o", "--out", type=Path, help="folder (that of the stored model)")
    parser.add_argument("--steps", type=int, default=RecallOptions.steps)
    parser.add_argument("--seed", type=int, default=RecallOptions.seed)
    args = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order, and the same weights on every run
    options = replace(MODELS[args.model], steps=args.steps, seed=args.seed)
    save_checkpoint(train(options, Task()), args.out or folder(args.model))


if __name__ == "__main__":
    main()
