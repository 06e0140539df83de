"""Compiled kernels, numpy reference and simulated RTL: equal in every observable of every token?

    python -m bench.digests                                    # the bundled model, 10,000 tokens
    python -m bench.digests --shape mamba2-130m --tokens 1000  # random weights
    python -m bench.digests --target tiny                      # the RTL of a target too

Every instruction set that this processor runs is compared. The text is greedy, with an id drawn at
random now and then, or it would soon repeat itself. The compiled kernels take it again in pieces of
many tokens, unobserved, which must give the same logits. The results file is rewritten as the run
goes on, so an interrupted run says how far it came.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.engine_files import our_file
from bench.identity import Random, combined, simulated
from bench.stored import Row, keep
from lightmamba.arch.target import Target, target_names
from lightmamba.device.sim import open_golden
from lightmamba.device.sim.golden import GoldenModel, GoldenStep
from lightmamba.engine import Difference, Digests, Engine, first_difference
from lightmamba.hardware.compiler import build
from lightmamba.model.config import SHAPES
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import QuantizedModel, load
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.native import usable_isas

SIZES = 1, 2, 5, 16, 64, 33  # tokens of a piece
EVERY = 16  # tokens from one drawn at random to the next
SECONDS = 30  # between two writes of the results
BUNDLED = "the bundled model"


@dataclass(frozen=True)
class Step:
    """One token on all.

    Parameters
    ----------
    observables : int
        How many tensors were compared.
    digest : str
        Over the digests of all tensors of all tokens until here, the first party's.
    difference : str or None
        Where they first part, and who.
    rtl : GoldenStep or None
        The token on the simulated RTL, if there is one and nothing differed before.
    """

    observables: int
    digest: str
    difference: str | None
    rtl: GoldenStep | None = None


class Pieces:
    """Run the text again, several tokens per call and unobserved: the logits must be equal."""

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


@dataclass(frozen=True)
class Party:
    """One of the engines that are compared.

    Parameters
    ----------
    name : str
        An instruction set, or "numpy".
    engine : Engine
        Runs the text token by token, observed.
    pieces : Pieces or None
        What runs it again, several tokens per call.
    """

    name: str
    engine: Engine
    pieces: Pieces | None = None


def parties(model: QuantizedModel, threads: int = 1) -> list[Party]:
    """The compiled kernels, the fastest first, and numpy; exit without compiled kernels."""
    if not usable_isas():
        raise SystemExit("there are no compiled kernels to compare; build them with: make setup")

    def fresh(isa: str) -> Engine:
        return Engine(model, threads=threads, isa=isa)

    made = [Party(isa, fresh(isa), Pieces(fresh(isa))) for isa in reversed(usable_isas())]
    return [*made, Party("numpy", Engine(model, compiled=False))]


def chain(
    compared: Sequence[Party], tokens: int, golden: GoldenModel | None = None, seed: int = 0
) -> Iterator[Step]:
    """Run the same text on all, token by token; the first difference from the first ends it."""
    rng, whole = np.random.default_rng(seed), blake2b(digest_size=16)
    states = [party.engine.empty_state(1) for party in compared]
    first = compared[0]
    token = 0
    for n in range(tokens):
        if n % EVERY == 0:
            token = int(rng.integers(first.engine.valid_vocab))
        ids = np.array([[token]])
        seen = [Digests(keep=True, first=n) for _ in compared]
        found = []
        for i, party in enumerate(compared):
            logits, states[i] = party.engine.forward(ids, states[i], observe=seen[i])
            found.append(logits[0, -1])
        difference = None
        for party, theirs in zip(compared[1:], seen[1:], strict=True):
            difference = difference or _apart(n, first, seen[0], party, theirs)
        for party in compared:
            difference = difference or _again(party, token, found[0], last=n == tokens - 1)
        step = None
        if golden is not None and difference is None:
            step = golden.feed(token)
            difference = None if step.difference is None else f"RTL: {step.difference}"
        for key, value in seen[0].items():
            whole.update(f"{key[0]} {key[1]} {value}\n".encode())
        yield Step(len(seen[0]), whole.hexdigest(), difference, step)
        if difference is not None:
            return
        token = int(found[0].argmax())


def _apart(n: int, first: Party, ours: Digests, party: Party, theirs: Digests) -> str | None:
    """The first difference of a party's token from that of the first party."""
    found = first_difference(ours, theirs) or _losses(n, first.engine, party.engine)
    return None if found is None else f"{party.name}: {found}"


def _again(party: Party, token: int, logits: NDArray[np.int32], *, last: bool) -> str | None:
    """The first difference of a party's pieces, once one is whole or the text ends."""
    if party.pieces is None:
        return None
    found = party.pieces.push(token, logits) or (party.pieces.flush() if last else None)
    return found and f"{party.name}: {found}"


def _losses(n: int, engine: Engine, reference: Engine) -> Difference | None:
    """Counts of saturated values that differ."""
    for name in sorted(engine.counters.keys() | reference.counters.keys()):
        a, b = engine.counters[name], reference.counters[name]
        if a != b:
            return Difference(n, f"counter {name}", (), a, b)
    return None


def identity(row: Row) -> str:
    """Hash of what a row measured."""
    model, _, target = row["model"].partition(" on ")
    if not target:
        return combined(model, row["tokens"])
    of = demo_file() if model == BUNDLED else Random(SHAPES[model])
    return simulated(of, Target.load(target.strip("`")), run=[row["tokens"], EVERY, SIZES])


def measure(
    name: str, model: QuantizedModel, args: argparse.Namespace, build: Path | None
) -> Iterator[dict[str, Any]]:
    """The row of a model, as far as it has come."""
    golden = open_golden(build).golden if build else None
    compared = parties(model, args.threads)
    names = [*(party.name for party in compared), *(["RTL"] if golden else [])]
    begin = last = time.perf_counter()
    tensors, rtl = 0, Rtl()
    for n, step in enumerate(chain(compared, args.tokens, golden), 1):
        tensors += step.observables
        rtl.add(step.rtl)
        now = time.perf_counter()
        if now - last < SECONDS and n < args.tokens and step.difference is None:
            continue
        last = now
        left = (now - begin) / n * (args.tokens - n)
        print(f"{name}: {n:,} of {args.tokens:,} tokens, {left:,.0f} s left", flush=True)
        yield {
            "model": name, "parties": names, "threads": args.threads,
            "tokens": n, "of": args.tokens, "compared": tensors, "digest": step.digest,
            "difference": step.difference, "rtl": rtl.counted() if golden else None,
            "seconds": now - begin,
        }  # fmt: skip


class Rtl:
    """Cycles of the simulated tokens, what the lanes did in them, and what saturated."""

    def __init__(self) -> None:
        self.cycles, self.stalls, self.lost = Counter[int](), Counter[str](), Counter[str]()

    def add(self, step: GoldenStep | None) -> None:
        """Count a token."""
        if step is not None:
            self.cycles[step.cycles] += 1
            self.stalls.update(step.stalls)
            self.lost.update(step.lost)

    def counted(self) -> dict[str, Any]:
        """Counts for the results file."""
        return {"cycles_per_token": dict(sorted(self.cycles.items())),
                "cycles": dict(self.stalls), "lost": dict(+self.lost)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="kernels, reference and RTL, digest by digest")
    parser.add_argument("--shape", choices=list(SHAPES), help="random weights (the bundled model)")
    parser.add_argument("--target", choices=target_names(), help="compare its RTL too")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1, help="of the compiled kernels (1)")
    parser.add_argument("--cache", type=Path, help="folder of random models (the user's cache)")
    parser.add_argument("--dry", action="store_true", help="leave the results file as it is")
    args = parser.parse_args()
    words = [f"--shape {args.shape}"] * bool(args.shape) + [f"--target {args.target}"] * bool(
        args.target
    )
    with TemporaryDirectory() as folder:
        name, model = opened(args)
        path = None
        if args.target:
            name += f" on `{args.target}`"
            path = build(model, Target.load(args.target), Path(folder) / "build").path
        for row in measure(name, model, args, path):
            if not args.dry:
                keep("digests", row, command=" ".join(["python -m bench.digests", *words]))
            if row["difference"] is not None:
                raise SystemExit(row["difference"])
        print(f"{row['compared']:,} tensors equal, digest {row['digest']}")


def opened(args: argparse.Namespace) -> tuple[str, QuantizedModel]:
    """Name and model of the command line."""
    if args.shape is None:
        return BUNDLED, load(demo_file())
    if args.target is not None:
        return args.shape, random_model(SHAPES[args.shape])
    return f"{args.shape}, random weights", load(our_file(args.shape, cache=args.cache))


if __name__ == "__main__":
    main()
