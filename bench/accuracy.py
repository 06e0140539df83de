"""Accuracy of the bundled models in exact integers, next to float.

    python -m bench.accuracy [--only w4a4] [--models bundled]   # about an hour on two cores
    python -m bench.accuracy choices
    python -m bench.accuracy scales
    python -m bench.accuracy calibration [--only w4a8] [--sequences 32]

The first has all methods at all widths, on the bundled model, its twin with heavy outliers, and the
bundled hybrid; ours also on the model with experts, and which of them it chooses. `choices` changes
one thing of the shipped W4A4 recipe at a time, `scales` takes bare powers of two
(:mod:`bench.scales`), and `calibration` other numbers of calibration tokens.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bench.common import bundled, encode, figures
from bench.scales import RULES, power_of_two
from bench.stored import keep
from lightmamba.engine import Engine
from lightmamba.evaluate import compare, compare_routing
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.checkpoint import Checkpoint, load_checkpoint
from lightmamba.model.data import experts_checkpoint, hybrid_checkpoint
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.quantization import Calibration, Recipe, quantize_checkpoint
from lightmamba.quantization.outliers import make_outlier_twin
from lightmamba.quantization.passes import (
    OnlineHadamard,
    QuantizeActivations,
    QuantizeHead,
    QuantizeState,
    QuantizeWeights,
    Rotate,
)

CHECKPOINTS = {"hybrid": hybrid_checkpoint, "experts": experts_checkpoint}
MODELS = ("bundled", "outliers", *CHECKPOINTS)
WIDTHS = ("w8a8", "w4a8", "w4a4")
METHODS = ("rtn", "rtn32", "smoothquant", "osplus", "ours")
SEQUENCES = (8, 32, 160)  # of 512 tokens, for calibration
Rows = Iterator[dict[str, Any]]


def recipe_of(method: str, width: str) -> Recipe:
    """A shipped recipe; ``rtn32`` is RTN with the project's activation blocks of 32."""
    if method == "ours":
        return Recipe.load(width)
    if method != "rtn32":
        return Recipe.load(f"{method}-{width}")
    made = Recipe.load(f"rtn-{width}")
    for kind in (QuantizeActivations, QuantizeHead):
        made = change(kind, block=32)(made)
    return replace(made, name=f"rtn32-{width}")


def source(model: str) -> Checkpoint:
    """A bundled checkpoint, or the first one's twin of the same function with heavy outliers."""
    if model in CHECKPOINTS:
        return load_checkpoint(CHECKPOINTS[model]())
    checkpoint = bundled()
    if model == "bundled":
        return checkpoint
    ids, _ = Calibration(sequences=8).tokens(checkpoint, 0)
    return replace(checkpoint, model=make_outlier_twin(checkpoint.model, ids, seed=0))


def measure(
    make: Callable[[], QuantizedModel], args: argparse.Namespace, model: str = "bundled"
) -> dict[str, Any]:
    """Quantize, and compare with the float model and count what saturates, on the unseen text.

    All bundled models have the same tokenizer.
    """
    quantized = make()
    ids, size = encode(2)
    checkpoint = source(model) if model in CHECKPOINTS else bundled()
    reference = FloatModel(checkpoint.model, checkpoint.valid_vocab)
    engine = Engine(quantized, threads=args.threads)
    found = compare(engine, reference, ids, text_bytes=size, threads=args.threads)
    routing: dict[str, Any] = {}
    if theirs := reference.routers:
        with engine.routers() as mine:
            both = compare_routing(engine, reference, (mine, theirs), ids, threads=args.threads)
        routing = {"routing": both.plain()}
    counters = dict(engine.counters)
    clipped = counters.pop("clipped", 0)
    return {
        "model": model,
        **figures(found),
        **routing,
        "overflows": int(np.sum(list(counters.values()))),
        "clipped": clipped,
        "bytes_per_token": sum(quantized.bytes_per_token().values()),
    }


def by_recipe(recipe: Recipe, args: argparse.Namespace, model: str = "bundled") -> dict[str, Any]:
    """A model quantized by a recipe; without GPTQ, calibration finds ranges only."""
    learns = any(getattr(step, "rounding", "") == "gptq" for step in recipe.passes)
    calibration = Calibration(sequences=160 if learns else 32)

    make = partial(quantize_checkpoint, source(model), recipe, calibration, threads=args.threads)
    return {"recipe": recipe.name, **measure(make, args, model)}


def change(kind: type, **values: Any) -> Callable[[Recipe], Recipe]:
    """A recipe with some numbers of one pass changed."""
    return lambda r: Recipe(
        r.name, tuple(replace(p, **values) if isinstance(p, kind) else p for p in r.passes)
    )


def without(kind: type) -> Callable[[Recipe], Recipe]:
    """A recipe without one pass."""
    return lambda r: Recipe(r.name, tuple(p for p in r.passes if not isinstance(p, kind)))


CHOICES: dict[str, Callable[[Recipe], Recipe]] = {
    "the recipe as shipped": lambda r: r,
    "weights RTN": change(QuantizeWeights, rounding="rtn", correct=False),
    "weights MSE-clipped": change(QuantizeWeights, rounding="mse", correct=False),
    "GPTQ without target correction": change(QuantizeWeights, correct=False),
    "rotation of the residual not learned": change(Rotate, steps=0),
    "no rotation of the residual": without(Rotate),
    "no on-line Hadamard": change(OnlineHadamard, order=1),
    "full Hadamard before out_proj (the paper's)": change(OnlineHadamard, order=0),
    "gate weight kept apart (the paper's)": change(OnlineHadamard, gate_weight="keep"),
    "gate weight folded": change(OnlineHadamard, gate_weight="fold"),
    "activation blocks of 128": change(QuantizeActivations, block=128),
    "head with 4-bit activations": change(QuantizeHead, act_bits=4),
    "head W8A8": change(QuantizeHead, weight_bits=8),
    "state of 16 bits": change(QuantizeState, bits=16, rounding="half_up"),
    "state rounded half up": change(QuantizeState, rounding="half_up"),
    "activations of 8 bits (W4A8)": change(QuantizeActivations, bits=8),
}


def methods(args: argparse.Namespace) -> Rows:
    """All methods at all widths."""
    for model in args.models:
        for method in args.methods:
            if model == "experts" and method != "ours":
                continue  # whose recipes are refused for them
            for width in args.only or WIDTHS:
                row = by_recipe(recipe_of(method, width), args, model)
                yield row | {"method": method, "width": width}


def choices(args: argparse.Namespace) -> Rows:
    """The shipped recipe with one thing changed."""
    for name, make in CHOICES.items():
        yield by_recipe(make(Recipe.load("w4a4")), args) | {"choice": name}


def scales(args: argparse.Namespace) -> Rows:
    """Scales of activations that are powers of two, by each rule."""
    for rule in RULES:
        yield measure(partial(power_of_two, rule, args.threads), args) | {"scale": rule}


def calibration(args: argparse.Namespace) -> Rows:
    """Shipped recipes, calibrated with more tokens."""
    for width in args.only or ("w4a4",):
        for count in args.sequences:
            given, recipe = Calibration(sequences=count), Recipe.load(width)
            make = partial(quantize_checkpoint, bundled(), recipe, given, threads=args.threads)
            row = measure(make, args)
            yield row | {"width": width, "sequences": count, "calibration_tokens": count * 512}


STUDIES = {"accuracy": methods, "choices": choices, "scales": scales, "calibration": calibration}


def main() -> None:
    """Run a study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study", nargs="?", choices=STUDIES, default="accuracy")
    parser.add_argument("--only", nargs="*", help="widths (all; of calibration w4a4)")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--sequences", nargs="*", type=int, default=SEQUENCES)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    command = "python -m bench.accuracy" + f" {args.study}" * (args.study != "accuracy")
    for row in STUDIES[args.study](args):
        keep(args.study, row, command=command)


if __name__ == "__main__":
    main()
