"""Which tensors a quantized model has, and the properties that engine and hardware rely on.

Names, types and shapes follow from the sizes alone; all is checked when a model is loaded.
Widths are proved in the tests from these ranges: within them no 64-bit intermediate wraps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Mixer, Sizes
from lightmamba.blocks.tensors import Spec, describe, numbers
from lightmamba.blocks.tensors import tensors as declared
from lightmamba.common.errors import InputError
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel.model import QuantizedLayer, QuantizedLinear, QuantizedModel, Table
from lightmamba.numerics.blocks import HALF
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.hadamard import has_hadamard
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.sampling import LOGIT_EXPONENT

__all__ = ["DTYPES", "Matrix", "matrices", "mixer_tensors", "tensors", "validate"]

EXPONENT = (-64, 64)
ROW_SHIFT = (7, 62)  # a static shift; the j of the rms, -7 to 23, is still to come
EPS = (1, 1 << 60)
NORM_CHANNELS = 1 << 14  # so that a sum of squares fits 60 bits
DTYPES = {  # names of safetensors, in numpy's words
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64",
}  # fmt: skip


@dataclass(frozen=True)
class Matrix:
    """Packed integers with a scale code per group: a projection, or the embedding."""

    rows: int
    channels: int
    bits: int
    group: int

    def required(self) -> dict[str, Spec]:
        """Tensors by the last part of their name."""
        return {
            "q": Spec("uint8", (self.rows, self.channels * self.bits // 8)),
            "code": Spec("uint8", (self.rows, self.channels // self.group)),
        }

    def extras(self) -> dict[str, Spec]:
        """Optional tensors of a projection of a comparison recipe."""
        return {
            "input_scale": Spec("int16", (self.channels,)),
            "input_shift": Spec("int16", (self.channels,)),
            "bias": Spec("int32", (self.rows,)),
        }


def mixer_tensors(sizes: Sizes) -> dict[str, Spec]:
    """Tensors of one layer's mixer, by the fields that declare them."""
    mixer = kind(sizes.kind).Mixer
    return {name: tensor.spec(sizes) for name, tensor in declared(mixer).items()}


def matrices(c: ModelConfig, f: Formats) -> dict[str, Matrix]:
    """Every matrix of the file by name."""
    inner = f.in_channels(c.d_model)
    named = {
        "embedding": Matrix(c.vocab_size, inner, 8, f.group),
        "head": Matrix(c.vocab_size, inner, f.head_weight_bits, f.group),
    }
    for i, sizes in enumerate(c.layers):
        for own in sizes.matrices(c.d_model, f):
            bits = sizes.projection(f, i, own.name).bits
            named[f"layers.{i}.{own.name}"] = Matrix(own.rows, own.columns, bits, f.group)
    return named


def tensors(c: ModelConfig, f: Formats) -> tuple[dict[str, Spec], dict[str, Spec]]:
    """Tensors that a file must hold, and those that it may."""
    must, may = {"calibration_windows": Spec("uint64", (None,))}, {}
    may["tokenizer"] = Spec("uint8", (None,))
    for name, matrix in matrices(c, f).items():
        must |= {f"{name}.{part}": spec for part, spec in matrix.required().items()}
        if name != "embedding":
            may |= {f"{name}.{part}": spec for part, spec in matrix.extras().items()}
    for i, sizes in enumerate(c.layers):
        must |= {f"layers.{i}.{name}": spec for name, spec in mixer_tensors(sizes).items()}
    return must, may


def validate(model: QuantizedModel) -> None:
    """Check everything that no later code looks at again.

    Raises
    ------
    InputError
        One sentence: which number or tensor, what it is, and what it may be.
    """
    c, f = model.config, model.formats
    f.check_layers(c.n_layer)
    _sizes(c, f)
    if len(model.layers) != c.n_layer:
        raise InputError(f"the model has {len(model.layers)} layers, expected {c.n_layer}")
    _within("valid_vocab", model.valid_vocab, 1, c.vocab_size)
    _within("residual_exp", model.residual_exp, *EXPONENT)
    _within("logit_exp", model.logit_exp, *LOGIT_EXPONENT)
    _within("eps", model.eps, *EPS)
    expected = matrices(c, f)
    for name, matrix in _matrices(model):
        specs = expected[name]
        q = matrix.words if isinstance(matrix, QuantizedLinear) else matrix.q.view(np.uint8)
        _tensor(f"{name}.q", q, specs.required()["q"])
        _tensor(f"{name}.code", matrix.code, specs.required()["code"])
        _within(f"{name}.base", matrix.base, *EXPONENT)
        if isinstance(matrix, QuantizedLinear):
            _within(f"{name}.bits", matrix.bits, specs.bits, specs.bits)
            for extra, spec in specs.extras().items():
                if (value := getattr(matrix, extra)) is not None:
                    _tensor(f"{name}.{extra}", value, spec)
            _linear(name, matrix, _format(name, c, f))
    shift = model.residual_exp - model.embedding.base
    _within("the embedding's shift (residual_exp - base)", shift, -40, 62)
    _within("the static shift of the head", model.head_shift(), *ROW_SHIFT)
    for i, (layer, sizes) in enumerate(zip(model.layers, c.layers, strict=True)):
        _layer(f"layers.{i}", model, layer, sizes)


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
        for name, linear in layer.linears.items():
            yield f"layers.{i}.{name}", linear


def _sizes(c: ModelConfig, f: Formats) -> None:
    """Check that sums over this many channels fit, and that blocks and words divide them."""
    _norm("d_model", c.d_model)
    _channels("the head", f.head, f.in_channels(c.d_model))
    for sizes in dict.fromkeys(c.layers):
        _layer_sizes(sizes, f)
    for i, sizes in enumerate(c.layers):
        for own in sizes.matrices(c.d_model, f):
            op = sizes.projection(f, i, own.name)
            _channels(f"layers.{i}.{own.name}", op, own.summed)


def _layer_sizes(sizes: Sizes, f: Formats) -> None:
    dim = sizes.out_dim // sizes.out_groups
    each = "" if sizes.out_groups == 1 else "a norm group of "
    _norm(f"{each}the input of out_proj in a layer of kind {sizes.kind}", dim)
    padded, order = f.transform.padded(dim), f.transform.size(dim)
    if padded % order or not has_hadamard(order):
        raise InputError(
            f"a norm group of {padded} channels has no Hadamard transform of order {order}, "
            f"expected one that divides it"
        )


def _norm(name: str, size: int) -> None:
    if size > NORM_CHANNELS:
        raise InputError(f"{name} has {size} channels, expected at most {NORM_CHANNELS}")


def _channels(name: str, op: Projection, channels: int) -> None:
    if channels * op.bits % 8:
        raise InputError(f"{name} has {channels} channels of {op.bits} bits, expected whole bytes")
    if (bits := op.accumulator_bits(channels)) > 63:
        raise InputError(
            f"sums of {name} over {channels} channels need {bits} bits, more than the 63 there are"
        )


def _format(name: str, c: ModelConfig, f: Formats) -> Projection:
    """Arithmetic of a matrix by its name."""
    if name == "head":
        return f.head
    _, index, which = name.split(".")
    return c.layers[int(index)].projection(f, int(index), which)


def _linear(name: str, linear: QuantizedLinear, op: Projection) -> None:
    if op.weight_qmax < IntFormat(op.bits).max:
        lowest = IntFormat(op.bits).min
        _within(f"a weight of {name}", int(linear.q.max()), lowest, op.weight_qmax)
    _within(f"{name}.act_base", linear.act_base, 0, 31)
    _within(f"{name}.acc_shift", linear.acc_shift, 0, 62)
    _within(f"{name}.input_scale_exp", linear.input_scale_exp, -62, 8)
    _within(f"{name}.input_shift_exp", linear.input_shift_exp, -62, 0)


def _layer(name: str, model: QuantizedModel, layer: QuantizedLayer, sizes: Sizes) -> None:
    mixer = layer.mixer
    if mixer.sizes != sizes:
        raise InputError(f"{name} has other sizes than the model's config says")
    for vector, spec in mixer_tensors(sizes).items():
        _tensor(f"{name}.{vector}", getattr(mixer, vector), spec)
    _numbers(name, mixer)
    for what, value, low, high in mixer.limits():
        _within(f"{name}: {what}", value, low, high)
    if sizes.routed:
        _routed(name, model, layer)
    _within(f"the static shift of {name}.in_proj", model.in_shift(layer), *ROW_SHIFT)
    _within(f"the static shift of {name}.out_proj", model.out_shift(layer), *ROW_SHIFT)


def _routed(name: str, model: QuantizedModel, layer: QuantizedLayer) -> None:
    """Check the router, whose input is that of in_proj too, and that no matrix has extras."""
    for which, linear in layer.linears.items():
        if not linear.plain:
            raise InputError(
                f"{name}.{which} has an input scale, an input shift or a bias, for which layers "
                f"of kind {layer.mixer.sizes.kind} have no arithmetic"
            )
    index = int(name.split(".")[1])
    act = layer.mixer.sizes.projection(model.formats, index, "in_proj").act
    _within(f"the static shift of {name}.router", model.router_shift(layer), *ROW_SHIFT)
    wanted = layer.linears["router"].act_base + (HALF if act.via else 0)
    _within(f"{name}.in_proj.act_base", layer.in_proj.act_base, wanted, wanted)


def _numbers(name: str, values: Mixer) -> None:
    """Check every declared number and the values of every declared tensor."""
    for field, allowed in numbers(values).items():
        _within(f"{name}.{field}", getattr(values, field), allowed.low, allowed.high)
    for field, tensor in declared(values).items():
        value = getattr(values, field)
        low = np.iinfo(value.dtype).min if tensor.low is None else tensor.low
        high = np.iinfo(value.dtype).max if tensor.high is None else tensor.high
        _within(f"{name}.{field}", value, low, high)
    for one in fields(cast(Any, values)):
        group = getattr(values, one.name)
        if is_dataclass(group) and one.name != "sizes":
            _numbers(f"{name}.{one.name}", cast(Any, group))
