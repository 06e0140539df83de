"""The structs of ``types.hpp`` and ``kernels.hpp``, field by field."""

import ctypes
from enum import IntEnum
from typing import Any

__all__ = [
    "Blocks", "Layer", "Linear", "LinearOp", "Lost", "Model", "PackOp", "Panel", "Phase",
    "QuantizeOp", "RmsOp", "Sequences", "Slot", "Tables", "Work",
]  # fmt: skip

INT, POINTER = ctypes.c_int64, ctypes.c_void_p


def _ints(names: str) -> list[tuple[str, Any]]:
    return [(name, INT) for name in names.split()]


def _pointers(names: str) -> list[tuple[str, Any]]:
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


class Phase(IntEnum):
    """Steps of a pass that can be run alone."""

    FRONT = 3
    SCAN = 4
    GATE = 5
    HADAMARD = 7


class Tables(ctypes.Structure):
    """Functions as tables of nodes."""

    _fields_ = [
        *_pointers("sigmoid rsqrt softplus_base softplus_delta softplus_shift"),
        *_pointers("exp2_base exp2_delta"),
        *_ints("sigmoid_bits rsqrt_bits softplus_bits exp2_bits"),
    ]  # fmt: skip


class Blocks(ctypes.Structure):
    """Dynamic quantization of blocks."""

    _fields_ = [*_ints("block qmin qmax base offset"), ("threshold", INT * 4)]


class Linear(ctypes.Structure):
    """One projection."""

    _fields_ = [
        *_pointers("weights codes row_shift"),
        *_ints("rows channels group bits panels acc_shift act_bits span low high"),
        ("act", Blocks),
    ]


class Layer(ctypes.Structure):
    """Static numbers of one layer."""

    _fields_ = [
        ("in_proj", Linear),
        ("out_proj", Linear),
        *_pointers("conv_in_shift conv_weight conv_bias conv_out_shift conv_silu_shift"),
        *_pointers("dt_bias A A_shift D gate_weight"),
        *_ints("eps_gate frame y D_shift z_silu gate weighted hadamard"),
    ]


class Model(ctypes.Structure):
    """Sizes, tables, embedding, head and layers."""

    _fields_ = [
        ("tables", Tables),
        *_ints("d_model d_inner d_in_proj conv_dim d_conv nheads headdim ngroups d_state"),
        *_ints("padded_state state_block state_bits dithered x_block bc_block tile_rows"),
        *_ints("group_dim padded_group transform core_order"),
        ("core", POINTER),
        *_ints("dt_low dt_high eps rms_shift n_layer vocab_size"),
        *_pointers("embedding embedding_code"),
        *_ints("embedding_shift embedding_channels embedding_group"),
        ("head", Linear),
        ("layers", ctypes.POINTER(Layer)),
    ]


class Slot(ctypes.Structure):
    """A run of tokens of one sequence."""

    _fields_ = _ints("sequence first count")


class Sequences(ctypes.Structure):
    """States of many sequences."""

    _fields_ = [
        *_pointers("conv h h_exp position"),
        *_ints("conv_stride h_stride h_exp_stride"),
    ]


class Panel(ctypes.Structure):
    """Input of a projection as its kernel takes it."""

    _fields_ = _pointers("a scale correction low")


class Work(ctypes.Structure):
    """All intermediates of a pass."""

    _fields_ = [
        *_ints("vectors wanted"),
        *_pointers("ids want u in_rms in_rms_shift in_q in_code rows conv x x_exp B B_exp C C_exp"),
        *_pointers("dt dt_shift decay y g weighted squares mixed out_rms out_rms_shift"),
        *_pointers("out_q out_code out_rows head_rms head_rms_shift head_q head_code logits"),
        ("panel", Panel),
        ("lost", POINTER),
    ]


class RmsOp(ctypes.Structure):
    """1/rms of the rows of an array."""

    _fields_ = [("x", POINTER), *_ints("channels groups shift eps"), *_pointers("mantissa j")]


class QuantizeOp(ctypes.Structure):
    """Block quantization of the rows of an array."""

    _fields_ = [
        ("format", Blocks),
        ("x", POINTER),
        *_ints("given channels"),
        *_pointers("q code lost"),
    ]


class LinearOp(ctypes.Structure):
    """A projection of the rows of an array."""

    _fields_ = [
        ("linear", Linear),
        *_pointers("q code"),
        ("panel", Panel),
        *_pointers("mantissa j"),
        *_ints("groups vectors out_bytes"),
        *_pointers("out lost"),
    ]


class PackOp(ctypes.Structure):
    """Weights as in the file to panels."""

    _fields_ = [
        *_pointers("weights codes"),
        *_ints("rows channels group bits"),
        *_pointers("to to_codes"),
    ]
