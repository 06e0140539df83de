"""Exact-integer evaluation compared with the float model, on the same processor.

python -m bench.evaluation               # both models, some minutes on an idle machine
python -m bench.evaluation bundled

Perplexity by `lightmamba.evaluate`, as `lightmamba evaluate` measures it: windows of 1,024 tokens,
all columns of the logits. The bundled model reads its unseen text; of the 130m shape, engine and
float model have random weights and read random ids, for only time is of interest. Engine and float
model take turns, so that what else the machine does meets both; a ratio is the median of those of
single turns.
"""

import time
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.common import asked, bundled, encode
from bench.stored import keep
from lightmamba.engine import Engine
from lightmamba.evaluate import LanguageModel, perplexity
from lightmamba.model.causal_lm import CausalLM, FloatModel
from lightmamba.model.config import SHAPES
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import load
from lightmamba.model.qmodel.synthetic import random_model

__all__ = ["Timed", "measure"]

SHAPE = "mamba2-130m"
WINDOW = 1024
TOKENS = {"bundled": 32 * WINDOW, SHAPE: 4 * WINDOW}


class Timed:
    """A model that counts the seconds it takes; what is left of an evaluation is work on logits."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.seconds = model, 0.0
        self.vocab_size, self.valid_vocab = model.vocab_size, model.valid_vocab
        self.logit_exponent = model.logit_exponent

    def empty_state(self, batch: int) -> Any:
        """State of sequences that have not begun."""
        return self.model.empty_state(batch)

    def forward(
        self, ids: NDArray[np.int64], state: Any, *, last_only: bool = True
    ) -> tuple[Any, Any]:
        """The model's logits and state."""
        start = time.perf_counter()
        out = self.model.forward(ids, state, last_only=last_only)
        self.seconds += time.perf_counter() - start
        return out


def pair(name: str, threads: int) -> tuple[Engine, FloatModel, NDArray[np.int64]]:
    """Engine, float model, and a text."""
    if name == "bundled":
        checkpoint = bundled()
        ids = encode(2)[0]
        float_model, model = checkpoint.model, load(demo_file())
        return Engine(model, threads=threads), FloatModel(float_model, checkpoint.valid_vocab), ids
    torch.manual_seed(0)
    model = random_model(SHAPES[name])
    ids = np.random.default_rng(0).integers(0, model.valid_vocab, TOKENS[SHAPE])
    reference = FloatModel(CausalLM(SHAPES[name]), model.valid_vocab)
    return Engine(model, threads=threads), reference, ids


def measure(name: str, turns: int, threads: int) -> dict[str, Any]:
    """Run the engine and the float model on the same text, in alternation.

    Rates are tokens per second, medians; ``ratio`` is the median of those of the turns, and
    ``logits`` that of the seconds spent on logits over those of the engine.
    """
    torch.set_num_threads(threads)
    engine, reference, text = pair(name, threads)
    ids = np.resize(text, TOKENS[name])

    def seconds(model: Timed, part: NDArray[np.int64]) -> float:
        start = time.perf_counter()
        perplexity(model, part, window=WINDOW, threads=threads)
        return time.perf_counter() - start

    found = []
    for turn in range(turns + 1):
        exact, floats = Timed(engine), Timed(reference)
        part = ids if turn else ids[:256]  # the first compiles, and does not count
        took = seconds(exact, part), seconds(floats, part)
        found.append((*took, (took[0] - exact.seconds) / exact.seconds))
    ours, theirs, logits = zip(*found[1:], strict=True)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        "model": name, "tokens": len(ids), "turns": turns, "threads": threads,
        "exact": len(ids) / median(ours), "floats": len(ids) / median(theirs),
        "ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios),
        "logits": median(logits),
    }  # fmt: skip


def main() -> None:
    turns, threads = ({"type": int, "default": default} for default in (5, 2))
    args = asked(__doc__, TOKENS, turns=turns, threads=threads)
    for name in args.row:
        keep("evaluation", measure(name, args.turns, args.threads))


if __name__ == "__main__":
    main()
