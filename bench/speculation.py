"""Speedup from drafting, by kind of text: docs/explanation/speculation.md.

    python -m bench.speculation                       # the bundled model
    python -m bench.speculation --shape mamba2-130m   # random weights: exact writers only

Two writers. "model" draws its own greedy text. "exact" computes every pass like the model, but
draws the continuation of :mod:`bench.editing`: the speedup of a model that writes it. Runs with and
without speculation alternate, and both times are kept. The prompt of 512 tokens is fed in one piece
and token by token.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bench.editing import KINDS, Case, cases
from bench.engine_files import our_file
from bench.stored import keep
from lightmamba.common.passes import Pass
from lightmamba.engine import Engine, State
from lightmamba.model.config import SHAPES
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import load
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text import NgramDrafter, Speculation, generate

GREEDY = SamplingOptions(temperature=0)
LARGEST = np.iinfo(np.int32).max
PROMPT = 512  # tokens of the prompt that is fed in one piece and token by token


class Exact:
    """The engine, whose draws are a given text: every pass is computed."""

    def __init__(self, engine: Engine, ids: Sequence[int]) -> None:
        self.engine, self.ids = engine, ids
        self.vocab_size, self.valid_vocab = engine.vocab_size, engine.valid_vocab
        self.logit_exponent = engine.logit_exponent
        self.context_length, self.undecided = engine.context_length, engine.undecided

    @property
    def seconds(self) -> float:
        """See Engine."""
        return self.engine.seconds

    def empty_state(self, batch: int, undecided: int = 0) -> State:
        """See Engine."""
        return self.engine.empty_state(batch, undecided)

    def forward(
        self, ids: NDArray[np.int64], state: State, *, last_only: bool = True
    ) -> tuple[NDArray[np.int32], State]:
        """See Engine; the next id of the text gets the largest logit."""
        logits, state = self.engine.forward(ids, state, last_only=last_only)
        self._dictate(logits[0], int(state.position[0]) - len(logits[0]))
        return logits, state

    def run(self, work: Pass, state: State) -> NDArray[np.int32]:
        """See Engine."""
        first = int(state.position[0]) + work.slots[0].replay
        logits = self.engine.run(work, state)
        self._dictate(logits, first)
        return logits

    def _dictate(self, logits: NDArray[np.int32], first: int) -> None:
        for n in range(len(logits)):
            if first + n + 1 < len(self.ids):
                logits[n, self.ids[first + n + 1]] = LARGEST


def written(
    decoder: Any, prompt: Sequence[int], tokens: int, report: Speculation | None
) -> tuple[list[int], float]:
    """Ids after a prompt and the seconds from the first one to the last."""
    drafter = None if report is None else NgramDrafter()
    steps = generate(decoder, prompt, max_tokens=tokens, sampling=GREEDY, drafter=drafter,
                     report=report)  # fmt: skip
    found = [next(steps).token_id]
    start = time.perf_counter()
    found += [step.token_id for step in steps]
    return found, time.perf_counter() - start


def measure(
    engine: Engine, tokenizer: Tokenizer, writer: str, some: Sequence[Case], rounds: int
) -> dict[str, Any]:
    """One row: a writer and the texts of a kind, each with and without speculation in turn."""
    report, plain, speculated, tokens = Speculation(), [0.0] * rounds, [0.0] * rounds, 0
    for case in tqdm(some, f"{writer}, {some[0].kind}"):
        prompt = tokenizer.encode(case.prompt).tolist()
        text = tokenizer.encode(case.continuation).tolist()
        decoder = Exact(engine, prompt + text) if writer == "exact" else engine
        tokens += len(text)
        for n in range(rounds):
            wanted, seconds = written(decoder, prompt, len(text), None)
            plain[n] += seconds
            found, seconds = written(decoder, prompt, len(text), seen := Speculation())
            speculated[n] += seconds
            if found != wanted:
                raise AssertionError("speculation changed a text")
        for name, value in vars(seen).items():
            setattr(report, name, getattr(report, name) + value)
    return {"writer": writer, "kind": some[0].kind, "texts": len(some), "tokens": tokens,
            "plain": plain, "speculated": speculated, **vars(report)}  # fmt: skip


def pieces(engine: Engine, rounds: int) -> dict[str, Any]:
    """A prompt in one piece, and token by token."""
    ids = np.random.default_rng(0).integers(1, engine.valid_vocab, (1, PROMPT))
    whole, single = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        engine.forward(ids, engine.empty_state(1))
        whole.append(time.perf_counter() - start)
        state, start = engine.empty_state(1), time.perf_counter()
        for n in range(PROMPT):
            engine.forward(ids[:, n : n + 1], state)
        single.append(time.perf_counter() - start)
    return {"writer": "prompt", "kind": "prompt", "tokens": PROMPT, "plain": single,
            "speculated": whole}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Speedup of speculation by kind of text.")
    parser.add_argument("--shape", choices=SHAPES, help="random weights; else the bundled model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--texts", type=int, default=4, help="of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    bundled = load(demo_file())
    assert bundled.tokenizer is not None
    tokenizer = Tokenizer.from_bytes(bundled.tokenizer)
    model = load(our_file(args.shape)) if args.shape else bundled
    engine = Engine(model, threads=args.threads)
    of = {"model": args.shape or "bundled", "threads": args.threads}
    rows = [pieces(engine, args.rounds)]
    for writer in ("exact",) if args.shape else ("exact", "model"):
        for kind in KINDS:
            some = [case for case in cases(args.texts) if case.kind == kind]
            rows.append(measure(engine, tokenizer, writer, some, args.rounds))
    keep("speculation", *(of | row for row in rows))


if __name__ == "__main__":
    main()
