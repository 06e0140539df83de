"""Perplexity of a format: quantize a checkpoint, evaluate it in its exact integers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.evaluate import compare
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.checkpoint import load_checkpoint
from lightmamba.model.data import heldout
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.quantization import Calibration, Recipe, quantize_checkpoint
from lightmamba.quantization.recipe import (
    OnlineHadamard,
    Pass,
    QuantizeActivations,
    QuantizeHead,
    QuantizeWeights,
)
from lightmamba.study.explore.scheme import Scheme

__all__ = ["measure", "recipe"]

CALIBRATION = Calibration(sequences=24)  # as many as the demo takes
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


def measure(
    scheme: Scheme,
    checkpoint: str | Path,
    *,
    tokens: int,
    calibration: Calibration = CALIBRATION,
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Quantize a checkpoint by a scheme and compare it with float on the held-out novels.

    Parameters
    ----------
    scheme
        May be one that only the engine has.
    checkpoint
        Folder or hub id, with a tokenizer.
    tokens
        First tokens of the text that are read.
    calibration, threads
        Of the quantization.
    progress
        Called with (done, total), in percent.

    Returns
    -------
    dict
        ``ratio`` of the perplexities and its ``standard_error``, of paired differences over blocks
        of 128 tokens; ``kl``, the mean KL(float ‖ model) in nats, which a lucky ratio does not
        flatter; ``perplexity``, ``float_perplexity``, and the number of scored ``tokens``.

    Raises
    ------
    InputError
        If the checkpoint has no tokenizer, or cannot be read.
    """
    torch.set_num_threads(threads)
    found = load_checkpoint(checkpoint)
    if found.tokenizer is None:
        raise InputError(f"{checkpoint} has no tokenizer, so its accuracy cannot be measured on "
                         f"a text; give another --checkpoint")  # fmt: skip
    ids = Tokenizer.from_bytes(found.tokenizer).encode(heldout())[:tokens]
    reference = FloatModel(found.model, found.valid_vocab)

    def tell(first: int, last: int, done: float, total: float) -> None:
        if progress is not None:
            progress(int(first + (last - first) * done // max(1, total)), 100)

    model = quantize_checkpoint(
        load_checkpoint(checkpoint), recipe(scheme), calibration, threads=threads,
        progress=lambda _, done, total: tell(0, QUANTIZING, done, total),
    )  # fmt: skip
    both = compare(
        Engine(model, threads=threads), reference, ids, threads=threads,
        progress=partial(tell, QUANTIZING, 100),
    )  # fmt: skip
    return {
        "ratio": both.ratio,
        "standard_error": both.ratio_standard_error,
        "kl": both.kl,
        "perplexity": both.model.perplexity,
        "float_perplexity": both.reference.perplexity,
        "tokens": both.model.tokens,
    }
