"""Compiled kernels, numpy reference and simulated RTL: equal in every observable of every token?

    python -m bench.digests                                    # the bundled model, 10,000 tokens
    python -m bench.digests --shape mamba2-130m --tokens 1000  # random weights
    python -m bench.digests --target tiny                      # the RTL of a target too

Every instruction set that this processor runs is compared. The text is greedy, with an id drawn at
random now and then, or it would soon repeat itself. The compiled kernels take it again in pieces of
many tokens, unobserved, which must give the same logits.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

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
BUNDLED = "the bundled model"
NUMPY = "numpy"
Engines = Mapping[str, Engine]  # by instruction set, or "numpy"


@dataclass(frozen=True)
class Step:
    """One token on all.

    Parameters
    ----------
    observables : int
        How many tensors were compared.
    digest : str
        Over the digests of all tensors of all tokens until here, the first engine's.
    difference : str or None
        Where they first part, and who.
    rtl : GoldenStep or None
        The token on the simulated RTL, if there is one and nothing differed before.
    """

    observables: int
    digest: str
    difference: str | None
    rtl: GoldenStep | None = None


def compiled(model: QuantizedModel, threads: int = 1) -> dict[str, Engine]:
    """The compiled kernels, the fastest first; exit without any."""
    if not usable_isas():
        raise SystemExit("there are no compiled kernels to compare; build them with: make setup")
    return {isa: Engine(model, threads=threads, isa=isa) for isa in reversed(usable_isas())}


def chain(
    engines: Engines, again: Engines, tokens: int, golden: GoldenModel | None = None, seed: int = 0
) -> Iterator[Step]:
    """Run the same text on all engines, token by token; the first difference ends it.

    Those of ``again`` take it in pieces of several tokens.
    """
    rng, whole, sizes = np.random.default_rng(seed), blake2b(digest_size=16), cycle(SIZES)
    states = {name: engine.empty_state(1) for name, engine in engines.items()}
    later = {name: engine.empty_state(1) for name, engine in again.items()}
    token, size, ids, logits = 0, next(sizes), list[int](), list[Any]()
    (name, first), *others = engines.items()
    for n in range(tokens):
        if n % EVERY == 0:
            token = int(rng.integers(first.valid_vocab))
        seen, found, apart = dict[str, Digests](), dict[str, Any](), list[str]()
        for each, engine in engines.items():
            seen[each] = Digests(keep=True, first=n)
            out, states[each] = engine.forward(
                np.array([[token]]), states[each], observe=seen[each]
            )
            found[each] = out[0, -1]
        for each, engine in others:
            where = first_difference(seen[name], seen[each]) or _losses(n, first, engine)
            apart += [f"{each}: {where}"] if where else []
        ids.append(token)
        logits.append(found[name])
        if len(ids) == size or n == tokens - 1:
            for each, engine in again.items():
                out, later[each] = engine.forward(np.array([ids]), later[each], last_only=False)
                if (wrong := np.argwhere(out[0] != np.stack(logits))).size:
                    place = f"logits{wrong[0].tolist()} differ"
                    apart.append(f"{each}: a piece of {len(ids)} tokens: {place}")
            ids, logits, size = [], [], next(sizes)
        step = None
        if golden is not None and not apart:
            step = golden.feed(token)
            apart += [] if step.difference is None else [f"RTL: {step.difference}"]
        for key, value in seen[name].items():
            whole.update(f"{key[0]} {key[1]} {value}\n".encode())
        yield Step(len(seen[name]), whole.hexdigest(), apart[0] if apart else None, step)
        if apart:
            return
        token = int(found[name].argmax())


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


def measure(name: str, model: QuantizedModel, args: argparse.Namespace, build: Path | None) -> Row:
    """The row of a model: all tokens, or those up to the first difference."""
    golden = open_golden(build).golden if build else None
    engines = compiled(model, args.threads) | {NUMPY: Engine(model, compiled=False)}
    tokens = compared = 0
    lengths, cycles = Counter[int](), Counter[str]()
    found = chain(engines, compiled(model, args.threads), args.tokens, golden)
    for step in tqdm(found, name, total=args.tokens, unit="token", mininterval=10):
        tokens, compared = tokens + 1, compared + step.observables
        if step.rtl is not None:
            lengths[step.rtl.cycles] += 1
            cycles.update(step.rtl.stalls)
    rtl = {"cycles_per_token": dict(sorted(lengths.items())), "cycles": dict(cycles)}
    return {
        "model": name, "parties": [*engines, *(["RTL"] if golden else [])],
        "tokens": tokens,
        "compared": compared, "digest": step.digest, "difference": step.difference,
        "rtl": rtl if golden else None,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="kernels, reference and RTL, digest by digest")
    parser.add_argument("--shape", choices=list(SHAPES), help="random weights (the bundled model)")
    parser.add_argument("--target", choices=target_names(), help="compare its RTL too")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1, help="of the compiled kernels (1)")
    parser.add_argument("--cache", type=Path, help="folder of random models (the user's cache)")
    parser.add_argument("--dry", action="store_true", help="leave the results file as it is")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        name, model = opened(args)
        path = None
        if args.target:
            name += f" on `{args.target}`"
            path = build(model, Target.load(args.target), Path(folder) / "build").path
        row = measure(name, model, args, path)
        keep("digests", row, dry=args.dry)
        if row["difference"] is not None:
            raise SystemExit(row["difference"])


def opened(args: argparse.Namespace) -> tuple[str, QuantizedModel]:
    """Name and model of the command line."""
    if args.shape is None:
        return BUNDLED, load(demo_file())
    if args.target is not None:
        return args.shape, random_model(SHAPES[args.shape])
    return f"{args.shape}, random weights", load(our_file(args.shape, cache=args.cache))


if __name__ == "__main__":
    main()
