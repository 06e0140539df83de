"""Random quantized models of any shape, made straight from integers.

They exercise full-size accelerators, and test everything that reads a quantized model.
Their activations keep healthy ranges through any number of layers: the exponents follow from the
sizes by the same sums of variances that a calibration would measure, so hardly anything saturates
and nothing dies out. Decays are slow and fast, dt is small and large.
"""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel.check import validate
from lightmamba.model.qmodel.model import (
    RMS_SHIFT,
    LazyLayers,
    QuantizedLayer,
    QuantizedLinear,
    QuantizedModel,
    Table,
)
from lightmamba.numerics.blocks import HALF
from lightmamba.numerics.formats import pack
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.model_formats import Formats

__all__ = ["LOGIT_EXP", "RESIDUAL_EXP", "RandomLayers", "random_model"]

RESIDUAL_EXP = -20
LOGIT_EXP = -16
CODES = 5, 6, 7  # octaves of the weight scales in use
STEPS = 1 << 16  # even steps of probability that random weights are drawn from
EMBEDDING, HEAD, LAYERS = range(3)  # independent streams of one seed; layer i has LAYERS + i


def random_model(
    config: ModelConfig, formats: Formats | None = None, seed: int = 0, *, lazy: bool = False
) -> QuantizedModel:
    """Make a quantized model of any shape.

    Parameters
    ----------
    config, formats
        Sizes and arithmetic; W4A4 with the default formats.
    seed
        The same seed gives the same model.
    lazy
        Make its layers when they are asked for, and keep the last one only: a model of any size in
        little memory. Such a model is not validated.

    Returns
    -------
    QuantizedModel
        With the three last ids of the vocabulary as padding, and without a tokenizer.
    """
    f = formats or Formats()
    layers = RandomLayers(config, f, seed)
    model = QuantizedModel(
        config=config,
        formats=f,
        valid_vocab=max(1, config.vocab_size - 3),
        embedding=_embedding(np.random.default_rng([seed, EMBEDDING]), config, f),
        layers=layers if lazy else tuple(layers),
        head=_linear(
            np.random.default_rng([seed, HEAD]), f.head,
            (config.vocab_size, f.in_channels(config.d_model)), _residual_columns(config, f),
            gain=2.0, size=2.0 ** (1 - RESIDUAL_EXP),
        ),
        residual_exp=RESIDUAL_EXP,
        logit_exp=LOGIT_EXP,
        eps=max(1, round(config.eps * config.d_model * 2.0 ** (-2 * (RESIDUAL_EXP + RMS_SHIFT)))),
        origin={"source": "random", "seed": seed},
        generation_config={"temperature": 1.0},
        special_ids={"eos": 0},
        calibration_windows=np.arange(5, dtype=np.uint64),
    )  # fmt: skip
    if not lazy:
        validate(model)
    return model


class RandomLayers(LazyLayers):
    """Layers of a random model, made when they are asked for."""

    def __init__(self, config: ModelConfig, formats: Formats, seed: int) -> None:
        def make(index: int) -> QuantizedLayer:
            return _layer(np.random.default_rng([seed, LAYERS + index]), config, index, formats)

        super().__init__(config.n_layer, make)
        self.seed = seed


@lru_cache
def _quantiles(bits: int) -> NDArray[np.int8]:
    """Normal weights that use their bits, about 3 standard deviations, at even probabilities."""
    top = (1 << (bits - 1)) - 1
    normal = NormalDist(0, top / 3)
    wide = np.rint([normal.inv_cdf((i + 0.5) / STEPS) for i in range(STEPS)])
    return np.asarray(wide.clip(-top - 1, top), dtype=np.int8)


def _integers(rng: np.random.Generator, shape: tuple[int, int], bits: int) -> NDArray[np.int8]:
    count = math.prod(shape)
    drawn = rng.integers(0, 1 << 64, -(-count // 4), dtype=np.uint64).astype("<u8").view("<u2")
    weights: NDArray[np.int8] = _quantiles(bits)[drawn[:count]]
    return weights.reshape(shape)


def _codes(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    octaves = rng.choice(np.array(CODES), shape)
    return np.asarray(rng.integers(0, 32, shape) + 32 * octaves, dtype=np.uint8)


def _deviation(bits: int) -> float:
    """Standard deviation of an integer weight times its code."""
    multiplier = math.sqrt(sum((48 << e) ** 2 for e in CODES) / len(CODES))
    return ((1 << (bits - 1)) - 1) / 3 * multiplier


def _embedding(rng: np.random.Generator, config: ModelConfig, f: Formats) -> Table:
    channels = f.in_channels(config.d_model)
    q = _integers(rng, (config.vocab_size, channels), 8)
    q[:, config.d_model :] = 0
    code = _codes(rng, (config.vocab_size, channels // f.group))
    return Table(q, code, -round(math.log2(_deviation(8))))


def _residual_columns(config: ModelConfig, f: Formats) -> NDArray[np.bool_]:
    """Which columns of in_proj and the head are no padding."""
    return np.arange(f.in_channels(config.d_model)) < config.d_model


def _mixed_columns(sizes: Sizes, f: Formats) -> NDArray[np.bool_]:
    """Which columns of out_proj can be other than zero: the transform mixes padding in."""
    dim = sizes.out_dim // sizes.out_groups
    padded, order = f.transform.padded(dim), f.transform.size(dim)
    used = np.arange(padded) // order * order < dim
    return np.tile(used, sizes.out_groups)


def _linear(
    rng: np.random.Generator,
    op: Projection,
    shape: tuple[int, int],
    columns: NDArray[np.bool_],
    gain: float,
    size: float,
) -> QuantizedLinear:
    """Weights of a real deviation of ``gain``, for integer inputs of a deviation of ``size``."""
    rows, channels = shape
    q = np.minimum(_integers(rng, shape, op.bits), np.int8(op.weight_qmax))
    q[:, ~columns] = 0
    code = _codes(rng, (rows, channels // op.group))
    weight = _deviation(op.bits)
    act_base = max(0, math.ceil(math.log2(8 * size / op.act.whole.qmax)) + 2 - 15)
    act_base += HALF if op.act.via else 0
    seen = math.sqrt(columns.sum()) * size * 2.0 ** (2 - act_base) * weight
    return QuantizedLinear(
        words=pack(q, op.bits),
        bits=op.bits,
        code=code,
        base=round(math.log2(gain / weight)),
        act_base=act_base,
        acc_shift=max(0, math.ceil(math.log2(seen)) + 5 - 39),
    )


def _layer(rng: np.random.Generator, c: ModelConfig, index: int, f: Formats) -> QuantizedLayer:
    sizes = c.layers[index]
    own = kind(sizes.kind).integers
    gain, size = own.output(sizes, f)
    back = _mixed_columns(sizes, f), gain, size
    of = {"out_proj": back}
    enters = _residual_columns(c, f), 1.0, 2.0 ** (1 - RESIDUAL_EXP)
    linears = {
        each.name: _linear(
            rng, sizes.projection(f, index, each.name), (each.rows, each.columns),
            *of.get(each.name, enters),
        )
        for each in sizes.matrices(c.d_model, f)
    }  # fmt: skip
    return QuantizedLayer(linears, own.random_mixer(rng, sizes, f))
