"""Compiled engine, numpy reference and simulated gates: equal in every observable of every token?

    python -m bench.digests                                    # the bundled model, 10,000 tokens
    python -m bench.digests --shape mamba2-130m --tokens 1000  # random weights
    python -m bench.digests --build build --tokens 100         # the gates of a build too

The text is greedy, with an id drawn at random now and then, or it would soon repeat itself. The
compiled engine takes it again in pieces of many tokens, unobserved, which must give its logits. The
results file is rewritten as the run goes on, so an interrupted run says how far it came.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common import RESULTS, commit, machine, write_results
from bench.engine_files import our_file
from lightmamba.config import SHAPES
from lightmamba.data import demo_file
from lightmamba.engine import Difference, Digests, Engine, first_difference
from lightmamba.qmodel import QuantizedModel, load
from lightmamba.sim import open_twin
from lightmamba.sim.twin import Twin

SIZES = 1, 2, 5, 16, 64, 33  # tokens of a piece
EVERY = 16  # tokens from one drawn at random to the next
SECONDS = 30  # between two writes of the results


@dataclass(frozen=True)
class Step:
    """One token on all.

    Parameters
    ----------
    observables : int
        How many tensors were compared.
    digest : str
        Over the digests of all tensors of all tokens until here, the engine's.
    difference : str or None
        Where they first part, and who.
    """

    observables: int
    digest: str
    difference: str | None


class Pieces:
    """The same text again, several tokens per call and unobserved: the logits must be equal."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.state = engine, engine.empty_state(1)
        self.sizes = cycle(SIZES)
        self.size = next(self.sizes)
        self.ids: list[int] = []
        self.logits: list[NDArray[np.int32]] = []

    def push(self, token: int, logits: NDArray[np.int32]) -> str | None:
        """Add a token and its logits (vocab_size,); a difference, once a piece is whole."""
        self.ids.append(token)
        self.logits.append(logits)
        return self.flush() if len(self.ids) == self.size else None

    def flush(self) -> str | None:
        """Run what is waiting."""
        if not self.ids:
            return None
        found, self.state = self.engine.forward(np.array([self.ids]), self.state, last_only=False)
        apart = np.argwhere(found[0] != np.stack(self.logits))
        size, self.size = len(self.ids), next(self.sizes)
        self.ids, self.logits = [], []
        if not apart.size:
            return None
        return f"a piece of {size} tokens: logits{apart[0].tolist()} differ"


def chain(
    engine: Engine, reference: Engine, tokens: int, twin: Twin | None = None, seed: int = 0
) -> Iterator[Step]:
    """Run the same text on all, token by token; the first difference ends it."""
    pieces = Pieces(Engine(engine.model, threads=engine.threads))
    rng, whole = np.random.default_rng(seed), blake2b(digest_size=16)
    ours, theirs = engine.empty_state(1), reference.empty_state(1)
    token = 0
    for n in range(tokens):
        if n % EVERY == 0:
            token = int(rng.integers(engine.valid_vocab))
        ids = np.array([[token]])
        here, there = Digests(keep=True, first=n), Digests(keep=True, first=n)
        logits, ours = engine.forward(ids, ours, observe=here)
        _, theirs = reference.forward(ids, theirs, observe=there)
        found = first_difference(here, there) or _losses(n, engine, reference)
        difference = None if found is None else f"numpy reference: {found}"
        difference = difference or pieces.push(token, logits[0, -1])
        if n == tokens - 1:
            difference = difference or pieces.flush()
        if twin is not None and difference is None:
            step = twin.feed(token)
            difference = None if step.difference is None else f"gates: {step.difference}"
        for key, value in here.items():
            whole.update(f"{key[0]} {key[1]} {value}\n".encode())
        yield Step(len(here), whole.hexdigest(), difference)
        if difference is not None:
            return
        token = int(logits[0, -1].argmax())


def _losses(n: int, engine: Engine, reference: Engine) -> Difference | None:
    """What saturated, as far as it was counted differently."""
    for name in sorted(engine.counters.keys() | reference.counters.keys()):
        a, b = engine.counters[name], reference.counters[name]
        if a != b:
            return Difference(n, f"counter {name}", (), a, b)
    return None


def measure(name: str, model: QuantizedModel, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The row of a model, as far as it has come."""
    twin = open_twin(args.build).twin if args.build else None
    engine = Engine(model, threads=args.threads)
    begin = last = time.perf_counter()
    compared = 0
    for n, step in enumerate(chain(engine, Engine(model, compiled=False), args.tokens, twin), 1):
        compared += step.observables
        now = time.perf_counter()
        if now - last < SECONDS and n < args.tokens and step.difference is None:
            continue
        last = now
        left = (now - begin) / n * (args.tokens - n)
        print(f"{name}: {n:,} of {args.tokens:,} tokens, {left:,.0f} s left", flush=True)
        yield {
            "model": name, "gates": args.build is not None, "threads": args.threads,
            "tokens": n, "of": args.tokens, "compared": compared, "digest": step.digest,
            "difference": step.difference, "seconds": now - begin,
            "commit": commit(), "machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}",
        }  # fmt: skip


def keep(row: dict[str, Any]) -> None:
    """Put a row into the results file, in the place of that of the same model and parties."""
    path = RESULTS / "digests.json"
    old = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else []
    rows = {(r["model"], r["gates"], r["threads"]): r for r in [*old, row]}
    write_results("digests", "python -m bench.digests", [rows[k] for k in sorted(rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description="engine, reference and gates, digest by digest")
    parser.add_argument("--shape", choices=list(SHAPES), help="random weights (the bundled model)")
    parser.add_argument("--build", type=Path, help="compare its gates too, and take its model")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2, help="of the compiled engine (2)")
    parser.add_argument("--cache", type=Path, help="folder of random models (the user's cache)")
    parser.add_argument("--dry", action="store_true", help="leave the results file as it is")
    args = parser.parse_args()
    name, model = opened(args)
    for row in measure(name, model, args):
        if not args.dry:
            keep(row)
        if row["difference"] is not None:
            raise SystemExit(row["difference"])
    print(f"{row['compared']:,} tensors equal, digest {row['digest']}")


def opened(args: argparse.Namespace) -> tuple[str, QuantizedModel]:
    """Name and model of the command line."""
    if args.build is not None:
        from lightmamba.arch.artifact import Artifact
        from lightmamba.compiler import open_model

        artifact = Artifact.read(args.build)
        model = open_model(artifact)
        shapes = [name for name, config in SHAPES.items() if config == model.config]
        return f"{shapes[0] if shapes else 'model'} on `{artifact.target.name}`", model
    if args.shape is not None:
        return f"{args.shape}, random weights", load(our_file(args.shape, cache=args.cache))
    return "the bundled model", load(demo_file())


if __name__ == "__main__":
    main()
