"""Which tensors a quantized model file holds: names, types and shapes, from the sizes alone."""

from dataclasses import dataclass

from lightmamba.config import Mamba2Config
from lightmamba.qmodel.formats import Formats

__all__ = ["DTYPES", "Matrix", "Spec", "describe", "layer_vectors", "matrices", "tensors"]

DTYPES = {  # names of safetensors, in numpy's words
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64",
}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """Type and shape of a tensor; None is any length."""

    dtype: str
    shape: tuple[int | None, ...]

    def fits(self, dtype: str, shape: tuple[int, ...]) -> bool:
        """Tell whether a tensor is what it should be."""
        return (
            dtype == self.dtype
            and len(shape) == len(self.shape)
            and all(want in (None, got) for want, got in zip(self.shape, shape, strict=True))
        )

    def __str__(self) -> str:
        return describe(self.dtype, self.shape)


def describe(dtype: str, shape: tuple[int | None, ...]) -> str:
    """Type and shape as people write them: ``int8 (4, 128)``."""
    sizes = ["any" if size is None else str(size) for size in shape]
    return f"{dtype} ({', '.join(sizes)})"


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
        """What a projection of a comparison recipe may have besides."""
        return {
            "input_scale": Spec("int16", (self.channels,)),
            "input_shift": Spec("int16", (self.channels,)),
            "bias": Spec("int32", (self.rows,)),
        }


def layer_vectors(c: Mamba2Config) -> dict[str, Spec]:
    """Vectors of one layer, by the fields of QuantizedLayer."""
    return {
        "conv_weight": Spec("int8", (c.d_conv, c.conv_dim)),
        "conv_bias": Spec("int32", (c.conv_dim,)),
        "conv_in_shift": Spec("int8", (c.conv_dim,)),
        "conv_out_shift": Spec("int8", (c.conv_dim,)),
        "dt_bias": Spec("int16", (c.nheads,)),
        "A": Spec("int16", (c.nheads,)),
        "A_shift": Spec("int8", (c.nheads,)),
        "D": Spec("int16", (c.nheads,)),
        "gate_weight": Spec("int16", (c.d_inner,)),
    }


def matrices(c: Mamba2Config, f: Formats) -> dict[str, Matrix]:
    """Every matrix of the file by name."""
    inner, outer = f.in_channels(c), f.out_channels(c)
    named = {
        "embedding": Matrix(c.vocab_size, inner, 8, f.group),
        "head": Matrix(c.vocab_size, inner, f.head_weight_bits, f.group),
    }
    for i in range(c.n_layer):
        named[f"layers.{i}.in_proj"] = Matrix(c.d_in_proj, inner, f.weight_bits, f.group)
        named[f"layers.{i}.out_proj"] = Matrix(c.d_model, outer, f.weight_bits, f.group)
    return named


def tensors(c: Mamba2Config, f: Formats) -> tuple[dict[str, Spec], dict[str, Spec]]:
    """Tensors that a file must hold, and those that it may."""
    must, may = {"calibration_windows": Spec("uint64", (None,))}, {}
    may["tokenizer"] = Spec("uint8", (None,))
    for name, matrix in matrices(c, f).items():
        must |= {f"{name}.{part}": spec for part, spec in matrix.required().items()}
        if name != "embedding":
            may |= {f"{name}.{part}": spec for part, spec in matrix.extras().items()}
    for i in range(c.n_layer):
        must |= {f"layers.{i}.{name}": spec for name, spec in layer_vectors(c).items()}
    return must, may
