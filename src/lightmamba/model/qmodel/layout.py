"""Which tensors a quantized model file holds: names, types and shapes, from the sizes alone."""

from dataclasses import dataclass

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes, out_channels
from lightmamba.blocks.tensors import Spec
from lightmamba.blocks.tensors import tensors as declared
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["DTYPES", "Matrix", "matrices", "mixer_tensors", "tensors"]

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
        outer = out_channels(sizes, f)
        for name, rows, channels in (
            ("in_proj", sizes.in_rows, inner), ("out_proj", c.d_model, outer),
        ):  # fmt: skip
            named[f"layers.{i}.{name}"] = Matrix(rows, channels, f.of(i, name).bits, f.group)
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
