"""Random quantized models for every test below the waist, plain or as a comparison recipe's."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.mamba2.synthetic import UNIT_EXP
from lightmamba.config import ModelConfig, mamba2_config
from lightmamba.formats import Formats
from lightmamba.qmodel import QuantizedLinear, QuantizedModel, synthetic, validate
from lightmamba.qmodel.model import RMS_SHIFT
from lightmamba.qmodel.synthetic import LOGIT_EXP, RESIDUAL_EXP

__all__ = ["TINY", "random_model"]

TINY = mamba2_config(d_model=32, n_layer=2, vocab_size=61, d_state=16, headdim=16)


def random_model(
    config: ModelConfig,
    formats: Formats | None = None,
    seed: int = 0,
    comparison: bool = False,
) -> QuantizedModel:
    """Make a valid quantized model of any shape, as :func:`synthetic.random_model` does.

    ``comparison`` gives its projections an input scale, an input shift and a bias, which the gates
    lack.
    """
    model = synthetic.random_model(config, formats, seed)
    if not comparison:
        return model
    rng = np.random.default_rng([seed, config.n_layer])
    layers = []
    for layer in model.layers:
        out_bias = np.rint(rng.standard_normal(config.d_model) * 0.1 * 2.0**-RESIDUAL_EXP)
        in_proj = _extras(rng, layer.in_proj, config, layer.mixer.row_exponents())
        out_proj = replace(layer.out_proj, bias=out_bias.astype(np.int32))
        layers.append(replace(layer, in_proj=in_proj, out_proj=out_proj))
    head = _extras(rng, model.head, config, LOGIT_EXP, rows=False)
    model = replace(model, layers=tuple(layers), head=head)
    validate(model)
    return model


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
