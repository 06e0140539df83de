"""The properties of a model that engine and hardware rely on, checked when it is loaded.

Widths are proved in the tests from these ranges: within them no 64-bit intermediate wraps.
"""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.config import Mamba2Config
from lightmamba.errors import InputError
from lightmamba.numerics.hadamard import has_hadamard
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.sampling import LOGIT_EXPONENT
from lightmamba.qmodel.formats import Formats
from lightmamba.qmodel.layout import Spec, describe, layer_vectors, matrices
from lightmamba.qmodel.model import QuantizedLayer, QuantizedLinear, QuantizedModel, Table

__all__ = ["validate"]

EXPONENT = (-64, 64)
ROW_SHIFT = (7, 62)  # a static shift; the j of the rms, -7 to 23, is still to come
SILU_SHIFT = (-31, 62)  # of int16
PRODUCT_SHIFT = (-20, 62)  # of 40-bit products
EPS = (1, 1 << 60)
NORM_CHANNELS = 1 << 14  # so that a sum of squares fits 60 bits


def validate(model: QuantizedModel) -> None:
    """Check everything that no later code looks at again.

    Raises
    ------
    InputError
        One sentence: which number or tensor, what it is, and what it may be.
    """
    c, f = model.config, model.formats
    _sizes(c, f)
    if len(model.layers) != c.n_layer:
        raise InputError(f"the model has {len(model.layers)} layers, expected {c.n_layer}")
    _within("valid_vocab", model.valid_vocab, 1, c.vocab_size)
    _within("residual_exp", model.residual_exp, *EXPONENT)
    _within("logit_exp", model.logit_exp, *LOGIT_EXPONENT)
    _within("eps", model.eps, *EPS)
    _within("dt_limits", model.dt_limits, -32768, 32767)
    low, high = model.dt_limits
    if low > high:
        raise InputError(f"dt_limits are {low} and {high}, expected the lower one first")
    for name, matrix in _matrices(model):
        specs = matrices(c, f)[name]
        q = matrix.words if isinstance(matrix, QuantizedLinear) else matrix.q.view(np.uint8)
        _tensor(f"{name}.q", q, specs.required()["q"])
        _tensor(f"{name}.code", matrix.code, specs.required()["code"])
        _within(f"{name}.base", matrix.base, *EXPONENT)
        if isinstance(matrix, QuantizedLinear):
            _within(f"{name}.bits", matrix.bits, specs.bits, specs.bits)
            for extra, spec in specs.extras().items():
                if (value := getattr(matrix, extra)) is not None:
                    _tensor(f"{name}.{extra}", value, spec)
            _linear(name, matrix)
    shift = model.residual_exp - model.embedding.base
    _within("the embedding's shift (residual_exp - base)", shift, -40, 62)
    _within("the static shift of the head", model.head_shift(), *ROW_SHIFT)
    for i, layer in enumerate(model.layers):
        _layer(f"layers.{i}", model, layer)


def _within(what: str, value: ArrayLike, low: int, high: int) -> None:
    values = np.asarray(value).ravel()
    wrong = values[(values < low) | (values > high)]
    if wrong.size:
        raise InputError(f"{what} is {wrong[0]}, expected {low} to {high}")


def _tensor(what: str, value: NDArray[np.generic], spec: Spec) -> None:
    if not spec.fits(str(value.dtype), value.shape):
        raise InputError(f"{what} is {describe(str(value.dtype), value.shape)}, expected {spec}")


def _matrices(model: QuantizedModel) -> Iterator[tuple[str, QuantizedLinear | Table]]:
    yield "embedding", model.embedding
    yield "head", model.head
    for i, layer in enumerate(model.layers):
        yield f"layers.{i}.in_proj", layer.in_proj
        yield f"layers.{i}.out_proj", layer.out_proj


def _sizes(c: Mamba2Config, f: Formats) -> None:
    """Check that sums over this many channels fit, and that blocks and words divide them."""
    for name, size in (("d_model", c.d_model), ("a norm group of d_inner", c.group_dim)):
        if size > NORM_CHANNELS:
            raise InputError(f"{name} has {size} channels, expected at most {NORM_CHANNELS}")
    padded, order = f.transform.padded(c.group_dim), f.transform.size(c.group_dim)
    if padded % order or not has_hadamard(order):
        raise InputError(
            f"a norm group of {padded} channels has no Hadamard transform of order {order}, "
            f"expected one that divides it"
        )
    for name, op, channels in (
        ("in_proj", f.projection, f.in_channels(c)),
        ("out_proj", f.projection, f.out_channels(c)),
        ("the head", f.head, f.in_channels(c)),
    ):
        if channels * op.bits % 8:
            raise InputError(
                f"{name} has {channels} channels of {op.bits} bits, expected whole bytes"
            )
        _accumulator(name, op, channels)


def _accumulator(name: str, op: Projection, channels: int) -> None:
    if (bits := op.accumulator_bits(channels)) > 63:
        raise InputError(
            f"sums of {name} over {channels} channels need {bits} bits, more than the 63 there are"
        )


def _linear(name: str, linear: QuantizedLinear) -> None:
    _within(f"{name}.act_base", linear.act_base, 0, 31)
    _within(f"{name}.acc_shift", linear.acc_shift, 0, 62)
    _within(f"{name}.input_scale_exp", linear.input_scale_exp, -62, 8)
    _within(f"{name}.input_shift_exp", linear.input_shift_exp, -62, 0)


def _layer(name: str, model: QuantizedModel, layer: QuantizedLayer) -> None:
    c, e = model.config, layer.exponents
    for vector, spec in layer_vectors(c).items():
        _tensor(f"{name}.{vector}", getattr(layer, vector), spec)
    for exponent, value in asdict(e).items():
        limits = (0, 31) if exponent == "hadamard_shift" else EXPONENT
        _within(f"{name}.exponents.{exponent}", value, *limits)
    _within(f"{name}.eps_gate", layer.eps_gate, *EPS)
    _within(f"{name}.conv_bias", layer.conv_bias, -(1 << 23), (1 << 23) - 1)
    _within(f"{name}.conv_in_shift", layer.conv_in_shift, 0, 15)
    _within(f"{name}.conv_out_shift", layer.conv_out_shift, -24, 40)
    _within(f"{name}.A", layer.A, 0, 32767)
    _within(f"{name}.A_shift", layer.A_shift, -17, 47)
    _within(f"the static shift of {name}.in_proj", model.in_shift(layer), *ROW_SHIFT)
    _within(f"the static shift of {name}.out_proj", model.out_shift(layer), *ROW_SHIFT)
    for part in ("z", "conv_x", "conv_B", "conv_C"):
        shift = model.silu_shift(getattr(e, part))
        _within(f"the shift of {name}.{part} to the sigmoid's input", shift, *SILU_SHIFT)
    _within(f"the shift of {name}'s y", e.y - e.state - e.conv_C, 0, 62)
    _within(f"the shift of {name}'s gate", e.gate - e.y - e.z, *PRODUCT_SHIFT)
    weighted = e.weighted - e.gate - e.gate_weight
    _within(f"the shift of {name}'s norm weight", weighted, *PRODUCT_SHIFT)
