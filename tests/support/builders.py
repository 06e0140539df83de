"""Builders, each small and random: sizes, quantized models, token ids, targets.

Nothing here needs torch; float models and checkpoints on disk are in `tests.support.checkpoints`.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from lightmamba.arch.target import Target
from lightmamba.blocks.mamba2.arithmetic import UNIT_EXP
from lightmamba.device.sim.made_up import made_up, two_ports
from lightmamba.model.config import ModelConfig, mamba2_config
from lightmamba.model.qmodel import QuantizedLinear, QuantizedModel, synthetic, validate
from lightmamba.model.qmodel.model import RMS_SHIFT
from lightmamba.model.qmodel.synthetic import LOGIT_EXP, RESIDUAL_EXP
from lightmamba.numerics.model_formats import Formats

__all__ = [
    "TINY", "W4A4", "W4A8", "W8A8", "made_up", "random_model", "shipped", "sizes", "token_ids",
    "two_ports", "write_choices", "write_text", "write_tokenizer",
]  # fmt: skip

W4A4 = Formats()
W4A8 = Formats(act_bits=8)
W8A8 = Formats(weight_bits=8, act_bits=8, head_weight_bits=8)
SENTENCES = (
    "It was a dark and stormy night.",
    "The rain fell in torrents, except at occasional intervals.",
    "A violent gust of wind swept up the streets.",
)


def sizes(**changes: Any) -> ModelConfig:
    """The sizes of `TINY`, but for these; the vocabulary is no multiple of the lanes."""
    tiny = {"d_model": 32, "n_layer": 2, "vocab_size": 61, "d_state": 16, "headdim": 16}
    return mamba2_config(**tiny | changes)


TINY = sizes()


def random_model(
    config: ModelConfig = TINY,
    formats: Formats | None = None,
    seed: int = 0,
    *,
    comparison: bool = False,
    lazy: bool = False,
) -> QuantizedModel:
    """Make a quantized model of any shape, as ``random_model`` of `lightmamba.model.qmodel` does.

    ``comparison`` gives its projections an input scale, an input shift and a bias, which hardware
    lacks; layers of a ``lazy`` one are made when they are asked for.
    """
    model = synthetic.random_model(config, formats, seed, lazy=lazy)
    if not comparison:
        return model
    rng = np.random.default_rng([seed, config.n_layer])
    layers = []
    for layer in model.layers:
        out_bias = np.rint(rng.standard_normal(config.d_model) * 0.1 * 2.0**-RESIDUAL_EXP)
        in_proj = _extras(rng, layer.in_proj, config, layer.mixer.row_exponents())
        out_proj = replace(layer.out_proj, bias=out_bias.astype(np.int32))
        layers.append(layer.with_linears(in_proj=in_proj, out_proj=out_proj))
    head = _extras(rng, model.head, config, LOGIT_EXP, rows=False)
    model = replace(model, layers=tuple(layers), head=head)
    validate(model)
    return model


def token_ids(config: ModelConfig, batch: int, seqlen: int, seed: int = 1) -> NDArray[np.int64]:
    """Random ids (batch, seqlen) of the vocabulary."""
    return np.random.default_rng(seed).integers(0, config.vocab_size, (batch, seqlen))


def shipped(name: str = "tiny", **machine: Any) -> Target:
    """A shipped target with other build parameters."""
    target = Target.load(name)
    return replace(target, machine=replace(target.machine, **machine))


def write_text(path: Path, times: int) -> Path:
    """Write three sentences in random order, each ``times`` times."""
    words = np.random.default_rng(3).permutation(np.repeat(SENTENCES, times))
    path.write_text(" ".join(words))
    return path


def write_choices(path: Path) -> Path:
    """Write a task of three rows, which have the same two choices, but not the same answer."""
    row = {"query": "The sky is", "choices": ["blue", "made of tin"]}
    path.write_text("\n".join(json.dumps(row | {"gold": gold}) for gold in (0, 1, 0)))
    return path


def write_tokenizer(path: Path, size: int) -> Path:
    """Write a tokenizer.json with ``size`` ids: ``<|endoftext|>``, then single characters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|endoftext|>", *alphabet]
    words += [f"word{n}" for n in range(size - len(words))]
    vocab = {word: number for number, word in enumerate(words[:size])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(path))
    return path


def _extras(
    rng: np.random.Generator,
    linear: QuantizedLinear,
    config: ModelConfig,
    row_exp: NDArray[np.int64] | int,
    *,
    rows: bool = True,
) -> QuantizedLinear:
    """Input scale about 1, shift about a fifth of the rms, bias about a tenth."""
    count, channels = linear.q.shape
    real = np.arange(channels) < config.d_model
    scale = np.rint((1 + 0.3 * rng.standard_normal(channels)) * 2.0**-UNIT_EXP) * real
    # root = |x >> 8|·2^15, so that shift · root · 2^exp is a fifth of an rms in units of x.
    shift_exp = round(math.log2(0.2 / math.sqrt(config.d_model))) - 15 + RMS_SHIFT - 13
    shift = np.rint(rng.standard_normal(channels) * (1 << 13)) * real
    bias = np.rint(rng.standard_normal(count) * 0.1 * 2.0 ** -np.asarray(row_exp, float))
    return replace(
        linear,
        input_scale=scale.clip(-32768, 32767).astype(np.int16), input_scale_exp=UNIT_EXP,
        input_shift=shift.clip(-32768, 32767).astype(np.int16), input_shift_exp=shift_exp,
        bias=bias.astype(np.int32) if rows else None,
    )  # fmt: skip
