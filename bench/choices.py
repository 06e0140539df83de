"""Effect of each choice of the W4A4 recipe on accuracy: ``python -m bench.choices``.

Each row changes one thing of the shipped recipe and quantizes the bundled model afresh.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.accuracy import measure
from bench.stored import keep
from lightmamba.quantization import Recipe
from lightmamba.quantization.recipe import (
    OnlineHadamard,
    QuantizeActivations,
    QuantizeHead,
    QuantizeState,
    QuantizeWeights,
    Rotate,
)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, help="of the unseen text (all)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    shipped = Recipe.load("w4a4")
    for name, make in CHOICES.items():
        row = measure("bundled", make(shipped), args.tokens, args.threads) | {"choice": name}
        print(f"{name:45} {row['ratio']:.4f} x  KL {row['kl']:.4f}", flush=True)
        keep("choices", row, stay=lambda old: old["choice"] in CHOICES)


if __name__ == "__main__":
    main()
