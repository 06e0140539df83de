"""All methods at all widths: the bundled model, its twin with heavy outliers, the bundled hybrid.

python -m bench.accuracy                # everything, about an hour on two cores
python -m bench.accuracy --only w4a4 --models bundled
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np

from bench.common import bundled, encode, figures
from bench.stored import keep
from lightmamba.engine import Engine
from lightmamba.evaluate import compare
from lightmamba.model.checkpoint import Checkpoint, load_checkpoint
from lightmamba.model.data import hybrid_checkpoint
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.model.reference import FloatModel
from lightmamba.quantization import Calibration, Recipe, quantize_checkpoint
from lightmamba.quantization.outliers import make_outlier_twin
from lightmamba.quantization.recipe import QuantizeActivations, QuantizeHead

MODELS = ("bundled", "outliers", "hybrid")
WIDTHS = ("w8a8", "w4a8", "w4a4")
METHODS = ("rtn", "rtn32", "smoothquant", "osplus", "ours")


def recipe_of(method: str, width: str) -> Recipe:
    """A shipped recipe; ``rtn32`` is RTN with the project's activation blocks of 32."""
    if method == "ours":
        return Recipe.load(width)
    if method != "rtn32":
        return Recipe.load(f"{method}-{width}")
    plain = Recipe.load(f"rtn-{width}")
    passes = tuple(
        replace(p, block=32) if isinstance(p, QuantizeActivations | QuantizeHead) else p
        for p in plain.passes
    )
    return Recipe(f"rtn32-{width}", passes)


def source(model: str) -> Checkpoint:
    """A bundled checkpoint, or the first one's twin of the same function with heavy outliers."""
    if model == "hybrid":
        return load_checkpoint(hybrid_checkpoint())
    checkpoint = bundled()
    if model == "bundled":
        return checkpoint
    ids, _ = Calibration(sequences=8).tokens(checkpoint, 0)
    return replace(checkpoint, model=make_outlier_twin(checkpoint.model, ids, seed=0))


def measure(model: str, recipe: Recipe, tokens: int | None, threads: int) -> dict[str, Any]:
    """Quantize and compare with the bundled float model, on the whole unseen text."""
    start = time.perf_counter()
    learns = any(getattr(step, "rounding", "") == "gptq" for step in recipe.passes)
    calibration = Calibration(sequences=160 if learns else 32)  # without GPTQ: ranges only
    quantized = quantize_checkpoint(source(model), recipe, calibration, threads=threads)
    seconds = time.perf_counter() - start
    return {
        "model": model,
        "recipe": recipe.name,
        **compared(quantized, tokens, threads, hybrid=model == "hybrid"),
        "gate_weight_folded": quantized.origin.get("gate_weight_folded"),
        "seconds_to_quantize": seconds,
    }


def compared(
    quantized: QuantizedModel, tokens: int | None, threads: int, *, hybrid: bool = False
) -> dict[str, Any]:
    """A quantized model compared with its float one on the unseen text, and what saturated.

    Both bundled models have the same tokenizer.
    """
    ids, size = encode(2)
    ids = ids[:tokens]
    reference = source("hybrid") if hybrid else bundled()
    engine = Engine(quantized, threads=threads)
    found = compare(
        engine, FloatModel(reference.model, reference.valid_vocab), ids,
        text_bytes=None if tokens else size, threads=threads,
    )  # fmt: skip
    counters = dict(engine.counters)
    clipped = counters.pop("clipped", 0)
    return {
        **figures(found),
        "overflows": int(np.sum(list(counters.values()))),
        "overflows_by_kind": {k: v for k, v in counters.items() if v},
        "clipped": clipped,
        "bytes_per_token": sum(quantized.bytes_per_token().values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=WIDTHS, help="widths")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--tokens", type=int, help="of the unseen text (all)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    for model in args.models:
        for method in args.methods:
            for width in args.only:
                row = measure(model, recipe_of(method, width), args.tokens, args.threads)
                keep("accuracy", row | {"method": method, "width": width})
                print(
                    f"{model:9} {method:12} {width}  {row['ratio']:.4f} x ± "
                    f"{row['ratio_standard_error']:.4f}  KL {row['kl']:.4f}  top-1 "
                    f"{row['top1_agreement']:.4f}  overflows {row['overflows']}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
