"""Perplexity of a format: quantize a checkpoint, evaluate it in its exact integers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.evaluate import Comparison, compare
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.checkpoint import load_checkpoint
from lightmamba.model.data import heldout
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.quantization import Calibration, Recipe, quantize_checkpoint
from lightmamba.quantization.passes import (
    OnlineHadamard,
    Pass,
    QuantizeActivations,
    QuantizeHead,
    QuantizeWeights,
)
from lightmamba.study.explore.scheme import Scheme

__all__ = ["compared", "measure", "recipe"]

CALIBRATION = Calibration(sequences=24)  # enough for the small models, and quick
QUANTIZING = 70  # percent of the time, about
Progress = Callable[[int, int], None]


def recipe(scheme: Scheme) -> Recipe:
    """The shipped recipe of these widths, with the scheme's block and group."""

    def changed(step: Pass) -> Pass:
        if isinstance(step, QuantizeWeights):
            return replace(step, group=scheme.group)
        if isinstance(step, QuantizeActivations | QuantizeHead):
            return replace(step, block=scheme.block)
        if isinstance(step, OnlineHadamard):
            return replace(step, order=scheme.hadamard)
        return step

    base = Recipe.load(scheme.bits)
    return Recipe(scheme.name, tuple(changed(step) for step in base.passes))


def compared(
    checkpoint: str | Path,
    recipe: Recipe,
    *,
    tokens: int,
    calibration: Calibration = CALIBRATION,
    threads: int = 1,
    progress: Progress | None = None,
) -> tuple[Engine, Comparison]:
    """Quantize a checkpoint by a recipe and compare it with float on the held-out novels.

    Parameters
    ----------
    checkpoint
        Folder or hub id, with a tokenizer.
    recipe
        What it is quantized by.
    tokens
        First tokens of the text that are read.
    calibration, threads
        Of the quantization.
    progress
        Called with (done, total), in percent.

    Returns
    -------
    The engine that runs the quantized model, and the comparison.

    Raises
    ------
    InputError
        If the checkpoint has no tokenizer, or cannot be read.
    """
    torch.set_num_threads(threads)
    found = load_checkpoint(checkpoint)
    if found.tokenizer is None:
        raise InputError(
            f"{checkpoint} has no tokenizer, so its accuracy cannot be measured on a text; give "
            f"another --checkpoint"
        )
    tokenizer = Tokenizer.from_bytes(found.tokenizer)
    ids = tokenizer.encode(heldout())[:tokens]

    def tell(first: int, last: int, done: float, total: float) -> None:
        if progress is not None:
            progress(int(first + (last - first) * done // max(1, total)), 100)

    model = quantize_checkpoint(
        load_checkpoint(checkpoint), recipe, calibration, threads=threads,
        progress=partial(tell, 0, QUANTIZING),
    )  # fmt: skip
    engine, reference = Engine(model, threads=threads), FloatModel(found.model, found.valid_vocab)
    both = compare(
        engine, reference, ids, text_bytes=len(tokenizer.decode(ids).encode()), threads=threads,
        progress=partial(tell, QUANTIZING, 100),
    )  # fmt: skip
    return engine, both


def measure(scheme: Scheme, checkpoint: str | Path, **options: Any) -> dict[str, float]:
    """Compare a scheme, which may be one that only the engine has, with float.

    Parameters
    ----------
    scheme
        What the checkpoint is quantized to.
    checkpoint, **options
        As of :func:`compared`.

    Returns
    -------
    dict
        ``ratio`` of the perplexities and its ``standard_error``, of paired differences over blocks
        of 128 tokens; ``kl``, the mean KL(float ‖ model) in nats, which a lucky ratio does not
        flatter; ``perplexity``, ``float_perplexity``, and the number of scored ``tokens``.
    """
    _, both = compared(checkpoint, recipe(scheme), **options)
    return {
        "ratio": both.ratio,
        "standard_error": both.ratio_standard_error,
        "kl": both.kl,
        "perplexity": both.model.perplexity,
        "float_perplexity": both.reference.perplexity,
        "tokens": both.model.tokens,
    }
