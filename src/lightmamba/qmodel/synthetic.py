"""Random quantized models of any shape, made straight from integers.

They exercise full-size accelerators, and test everything that reads a quantized model.
Their activations keep healthy ranges through any number of layers: the exponents follow from the
sizes by the same sums of variances that a calibration would measure, so hardly anything saturates
and nothing dies out. Decays are slow and fast, dt is small and large.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import overload

import numpy as np
from numpy.typing import NDArray

from lightmamba.config import Mamba2Config
from lightmamba.numerics.formats import pack
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.tables import Q5_11, tables
from lightmamba.qmodel.check import validate
from lightmamba.qmodel.formats import Formats
from lightmamba.qmodel.model import (
    RMS_SHIFT,
    Exponents,
    QuantizedLayer,
    QuantizedLinear,
    QuantizedModel,
    Table,
)

__all__ = ["LOGIT_EXP", "RESIDUAL_EXP", "UNIT_EXP", "RandomLayers", "random_model"]

RESIDUAL_EXP = -20
LOGIT_EXP = -16
ROWS_EXP = -12  # int16: up to 8
CONV_EXP = -11  # int16: up to 16
STATE_EXP = -22
Y_EXP = GATE_EXP = -12  # int24: up to 2,048
UNIT_EXP = -13  # int16 D and norm weights: up to 4
CODES = 5, 6, 7  # octaves of the weight scales in use
MIXED = 8.0  # typical y·silu(z)
STEPS = 1 << 16  # even steps of probability that random weights are drawn from
EMBEDDING, HEAD, LAYERS = range(3)  # independent streams of one seed; layer i has LAYERS + i


def random_model(
    config: Mamba2Config, formats: Formats | None = None, seed: int = 0, *, lazy: bool = False
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
            (config.vocab_size, f.in_channels(config)), _residual_columns(config, f),
            gain=2.0, size=2.0 ** (1 - RESIDUAL_EXP),
        ),
        residual_exp=RESIDUAL_EXP,
        logit_exp=LOGIT_EXP,
        eps=max(1, round(config.eps * config.d_model * 2.0 ** (-2 * (RESIDUAL_EXP + RMS_SHIFT)))),
        dt_limits=tables()[1].limits(*config.dt_limit),
        origin={"source": "random", "seed": seed},
        generation_config={"temperature": 1.0},
        special_ids={"eos": 0},
        calibration_windows=np.arange(5, dtype=np.uint64),
    )  # fmt: skip
    if not lazy:
        validate(model)
    return model


class RandomLayers(Sequence[QuantizedLayer]):
    """Layers of a random model, made when they are asked for; the last one is kept."""

    def __init__(self, config: Mamba2Config, formats: Formats, seed: int) -> None:
        self.config, self.formats, self.seed = config, formats, seed
        self._last: tuple[int, QuantizedLayer] | None = None

    def __len__(self) -> int:
        return self.config.n_layer

    @overload
    def __getitem__(self, index: int) -> QuantizedLayer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[QuantizedLayer, ...]: ...
    def __getitem__(self, index: int | slice) -> QuantizedLayer | tuple[QuantizedLayer, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        i = range(len(self))[index]
        if self._last is None or self._last[0] != i:
            rng = np.random.default_rng([self.seed, LAYERS + i])
            self._last = i, _layer(rng, self.config, self.formats)
        return self._last[1]


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


def _embedding(rng: np.random.Generator, config: Mamba2Config, f: Formats) -> Table:
    channels = f.in_channels(config)
    q = _integers(rng, (config.vocab_size, channels), 8)
    q[:, config.d_model :] = 0
    code = _codes(rng, (config.vocab_size, channels // f.group))
    return Table(q, code, -round(math.log2(_deviation(8))))


def _residual_columns(config: Mamba2Config, f: Formats) -> NDArray[np.bool_]:
    """Which columns of in_proj and the head are no padding."""
    return np.arange(f.in_channels(config)) < config.d_model


def _mixed_columns(config: Mamba2Config, f: Formats) -> NDArray[np.bool_]:
    """Which columns of out_proj can be other than zero: the transform mixes padding in."""
    transform = f.transform
    padded, size = transform.padded(config.group_dim), transform.size(config.group_dim)
    used = np.arange(padded) // size * size < config.group_dim
    return np.tile(used, config.ngroups)


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
    q = _integers(rng, shape, op.bits)
    q[:, ~columns] = 0
    code = _codes(rng, (rows, channels // op.group))
    weight = _deviation(op.bits)
    act_base = max(0, math.ceil(math.log2(8 * size / op.act.qmax)) + 2 - 15)
    seen = math.sqrt(columns.sum()) * size * 2.0 ** (2 - act_base) * weight
    return QuantizedLinear(
        words=pack(q, op.bits),
        bits=op.bits,
        code=code,
        base=round(math.log2(gain / weight)),
        act_base=act_base,
        acc_shift=max(0, math.ceil(math.log2(seen)) + 5 - 39),
    )


def _layer(rng: np.random.Generator, c: Mamba2Config, f: Formats) -> QuantizedLayer:
    size = f.transform.size(c.group_dim)
    e = Exponents(
        z=ROWS_EXP, x=ROWS_EXP, B=ROWS_EXP, C=ROWS_EXP,
        conv_x=CONV_EXP, conv_B=CONV_EXP, conv_C=CONV_EXP,
        state=STATE_EXP, y=Y_EXP, D=UNIT_EXP,
        gate=GATE_EXP, gate_weight=UNIT_EXP, weighted=GATE_EXP,
        hadamard_shift=max(0, math.ceil(math.log2(size)) - 8),
    )  # fmt: skip
    in_proj = _linear(
        rng, f.projection, (c.d_in_proj, f.in_channels(c)), _residual_columns(c, f),
        gain=1.0, size=2.0 ** (1 - RESIDUAL_EXP),
    )  # fmt: skip
    out_proj = _linear(
        rng, f.projection, (c.d_model, f.out_channels(c)), _mixed_columns(c, f),
        gain=0.4 / math.sqrt(size * c.ngroups),
        size=MIXED * math.sqrt(size) * 2.0 ** -(GATE_EXP + e.hadamard_shift),
    )  # fmt: skip
    # A from 1/64 to 16 and dt from 0.001 to 0.3, both spread evenly over the octaves.
    A = np.exp2(rng.uniform(-6, 4, c.nheads)) * math.log2(math.e)
    A_shift = 15 - np.frexp(A * (1 + 2.0**-16))[1]
    dt = np.exp(rng.uniform(math.log(1e-3), math.log(0.3), c.nheads))
    # Inputs of the convolution have 8 bits for ±8 or ±16; taps 8 for ±1 to ±4.
    weight_exp = rng.integers(-7, -4, c.conv_dim)
    taps = rng.standard_normal((c.d_conv, c.conv_dim)) / math.sqrt(c.d_conv)
    in_shift = rng.integers(8, 10, c.conv_dim)
    unit = ROWS_EXP + in_shift + weight_exp
    bias = 0.2 * rng.standard_normal(c.conv_dim) * c.conv_bias

    def fixed(
        value: NDArray[np.float64], exponent: NDArray[np.int64] | int, bits: int
    ) -> NDArray[np.float64]:
        top = 1 << (bits - 1)
        return np.rint(value * 2.0 ** -np.asarray(exponent, float)).clip(-top, top - 1)

    return QuantizedLayer(
        in_proj=in_proj,
        out_proj=out_proj,
        conv_weight=fixed(taps, weight_exp, 8).astype(np.int8),
        conv_bias=fixed(bias, unit, 24).astype(np.int32),
        conv_in_shift=in_shift.astype(np.int8),
        conv_out_shift=(CONV_EXP - unit).astype(np.int8),
        dt_bias=fixed(np.log(np.expm1(dt)), Q5_11, 16).astype(np.int16),
        A=fixed(A, -A_shift, 16).astype(np.int16),
        A_shift=A_shift.astype(np.int8),
        D=fixed(1 + 0.3 * rng.standard_normal(c.nheads), UNIT_EXP, 16).astype(np.int16),
        gate_weight=fixed(1 + 0.3 * rng.standard_normal(c.d_inner), UNIT_EXP, 16).astype(np.int16),
        exponents=e,
        eps_gate=max(1, round(c.eps * c.group_dim * 2.0 ** (-2 * GATE_EXP))),
    )
