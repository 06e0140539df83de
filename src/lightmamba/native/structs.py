"""The structs of ``types.hpp`` and ``kernels.hpp``, field by field."""

import ctypes
from enum import IntEnum
from typing import Any

__all__ = [
    "INT", "KINDS", "POINTER", "Blocks", "Layer", "Linear", "LinearOp", "Lost", "Model", "PackOp",
    "Panel", "Phase", "QuantizeOp", "RmsOp", "Sequences", "Slot", "Tables", "Transform", "Work",
    "ints", "layout", "pointers",
]  # fmt: skip

INT, POINTER = ctypes.c_int64, ctypes.c_void_p
LAYOUT = 1  # as in types.hpp


def ints(names: str) -> list[tuple[str, Any]]:
    """Fields that are whole numbers."""
    return [(name, INT) for name in names.split()]


def pointers(names: str) -> list[tuple[str, Any]]:
    """Fields that are addresses."""
    return [(name, POINTER) for name in names.split()]


class Lost(IntEnum):
    """Kinds of saturation, in the order of the kernels' counters."""

    EMBEDDING = 0
    CLIPPED = 1
    IN_SCALE = 2
    IN = 3
    CONV_INPUT = 4
    CONV = 5
    DT = 6
    H = 7
    Y = 8
    GATE = 9
    HADAMARD = 10
    OUT_SCALE = 11
    OUT = 12
    RESIDUAL = 13
    HEAD_SCALE = 14
    HEAD = 15
    HIDDEN = 16
    SCORE = 17
    MEAN = 18


class Phase(IntEnum):
    """Steps of a pass that can be run alone."""

    HADAMARD = 3
    MIXER = 9  # from here on those of the layer's kind


KINDS = ("attention", "mamba2", "mlp")  # of mixers, in the order of the kernels' list


class Tables(ctypes.Structure):
    """Functions as tables of nodes."""

    _fields_ = [
        *pointers("sigmoid rsqrt reciprocal softplus_base softplus_delta softplus_shift"),
        *pointers("exp2_base exp2_delta"),
        *ints("sigmoid_bits rsqrt_bits reciprocal_bits softplus_bits exp2_bits"),
    ]  # fmt: skip


class Blocks(ctypes.Structure):
    """Dynamic quantization of blocks."""

    _fields_ = [*ints("block qmin qmax base offset"), ("threshold", INT * 4)]


class Linear(ctypes.Structure):
    """One projection."""

    _fields_ = [
        *pointers("weights codes row_shift"),
        *ints("rows channels group bits panels acc_shift act_bits span low high"),
        ("act", Blocks),
    ]


class Transform(ctypes.Structure):
    """The online Hadamard transform of the input of out_proj."""

    _fields_ = [*ints("groups dim padded power core_order shift"), ("core", POINTER)]


class Layer(ctypes.Structure):
    """One layer."""

    _fields_ = [
        ("kind", INT),
        ("in_proj", Linear),
        ("out_proj", Linear),
        ("transform", Transform),
        ("mixer", POINTER),
    ]


class Model(ctypes.Structure):
    """Sizes, tables, embedding, head and layers."""

    _fields_ = [
        ("tables", Tables),
        *ints("d_model eps rms_shift n_layer vocab_size"),
        *pointers("embedding embedding_code"),
        *ints("embedding_shift embedding_channels embedding_group"),
        ("head", Linear),
        ("layers", ctypes.POINTER(Layer)),
    ]


class Slot(ctypes.Structure):
    """A run of tokens of one sequence."""

    _fields_ = ints("sequence first count replay commit")


class Sequences(ctypes.Structure):
    """States of many sequences."""

    _fields_ = [
        ("data", POINTER), ("stride", INT), ("position", POINTER), ("pages", POINTER),
        ("page_bytes", INT), ("record", POINTER), ("record_tokens", INT), ("record_bytes", INT),
        ("half", POINTER),
    ]  # fmt: skip


class Panel(ctypes.Structure):
    """Input of a projection as its kernel takes it."""

    _fields_ = pointers("a scale correction low")


class Work(ctypes.Structure):
    """All intermediates of a pass."""

    _fields_ = [
        *ints("vectors wanted"),
        *pointers("ids want u in_rms in_rms_shift in_q in_code rows weighted mixed"),
        *pointers("out_rms out_rms_shift out_q out_code out_rows"),
        *pointers("head_rms head_rms_shift head_q head_code logits"),
        ("panel", Panel),
        ("lost", POINTER),
        ("own", POINTER * len(KINDS)),
    ]


class RmsOp(ctypes.Structure):
    """1/rms of the rows of an array."""

    _fields_ = [("x", POINTER), *ints("channels groups shift eps"), *pointers("mantissa j")]


class QuantizeOp(ctypes.Structure):
    """Block quantization of the rows of an array."""

    _fields_ = [
        ("format", Blocks),
        ("x", POINTER),
        *ints("given channels"),
        *pointers("q code lost"),
    ]


class LinearOp(ctypes.Structure):
    """A projection of the rows of an array."""

    _fields_ = [
        ("linear", Linear),
        *pointers("q code"),
        ("panel", Panel),
        *pointers("mantissa j"),
        *ints("groups vectors out_bytes"),
        *pointers("out lost"),
    ]


class PackOp(ctypes.Structure):
    """Weights as in the file to panels."""

    _fields_ = [
        *pointers("weights codes"),
        *ints("rows channels group bits"),
        *pointers("to to_codes"),
    ]


def layout() -> int:
    """What these structs look like; ``lightmamba_layout`` of a library made of the same sources."""
    found = LAYOUT
    for struct in (Tables, Blocks, Linear, Transform, Layer, Model, Slot, Sequences, Panel, Work,
                   RmsOp, QuantizeOp, LinearOp, PackOp):  # fmt: skip
        found = found * 31 + ctypes.sizeof(struct)
    return (found + (1 << 63)) % (1 << 64) - (1 << 63)
