"""A quantized model made by hand: every number is written here, none is random."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.mamba2.quantized import Exponents, Mixer, Sizes
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel, Table
from lightmamba.numerics.formats import pack
from lightmamba.numerics.model_formats import Formats

__all__ = ["FILE", "HEADER", "header_text", "tiny_model"]

FILE = Path(__file__).with_name("tiny.safetensors")
HEADER = Path(__file__).with_name("tiny.json")  # its header, for people to read

SIZES = Sizes(nheads=2, headdim=4, d_state=4, chunk_size=8, dt_limit=(0.0, 0.5))
CONFIG = ModelConfig(d_model=4, vocab_size=3, layers=(SIZES,))
FORMATS = Formats(block=8, group=8, head_block=8, hadamard=8)


def ramp(shape: tuple[int, ...], low: int, high: int, dtype: str) -> NDArray[Any]:
    """Low, low + 1, ... high, low, ... in C order."""
    size = int(np.prod(shape))
    return (low + np.arange(size) % (high - low + 1)).reshape(shape).astype(dtype)


def linear(rows: int, channels: int, base: int, **extras: Any) -> QuantizedLinear:
    """Weights -8..7 in turn, codes from 160 on."""
    return QuantizedLinear(
        pack(ramp((rows, channels), -8, 7, "int8"), 4),
        ramp((rows, channels // 8), 160, 199, "uint8"),
        base=base, act_base=3, acc_shift=1, **extras,
    )  # fmt: skip


def tiny_model() -> QuantizedModel:
    """One layer, two heads, three ids, and every optional part."""
    c = SIZES
    in_proj = linear(
        c.in_rows, 8, -12,
        input_scale=ramp((8,), 8190, 8197, "int16"), input_scale_exp=-13,
        input_shift=ramp((8,), -4, 3, "int16"), input_shift_exp=-20,
        bias=ramp((c.in_rows,), -13, 12, "int32"),
    )  # fmt: skip
    mixer = Mixer(
        sizes=c,
        conv_weight=ramp((c.d_conv, c.conv_dim), -32, 31, "int8"),
        conv_bias=ramp((c.conv_dim,), -100, -1, "int32"),
        conv_in_shift=ramp((c.conv_dim,), 6, 8, "int8"),
        conv_out_shift=ramp((c.conv_dim,), 1, 2, "int8"),
        dt_bias=np.array([-4096, 2048], dtype=np.int16),
        A=np.array([23637, 16384], dtype=np.int16),
        A_shift=np.array([14, 12], dtype=np.int8),
        D=np.array([8192, -8192], dtype=np.int16),
        gate_weight=ramp((c.d_inner,), 8000, 8007, "int16"),
        exponents=Exponents(
            z=-12, x=-12, B=-12, C=-11, conv_x=-12, conv_B=-12, conv_C=-11, state=-22, y=-12,
            D=-13, gate=-12, gate_weight=-13, weighted=-12, hadamard_shift=0,
        ),
        eps_gate=1342,
        dt_low=-32768,
        dt_high=-888,
    )  # fmt: skip
    return QuantizedModel(
        config=CONFIG,
        formats=FORMATS,
        valid_vocab=2,
        embedding=Table(ramp((3, 8), -12, 11, "int8"), ramp((3, 1), 200, 202, "uint8"), -17),
        layers=(
            QuantizedLayer({"in_proj": in_proj, "out_proj": linear(CONFIG.d_model, 8, -15)}, mixer),
        ),
        head=linear(3, 8, -13),
        residual_exp=-20,
        logit_exp=-16,
        eps=671,
        origin={"source": "made by hand", "licence": "Apache-2.0", "recipe": "name = 'é'\n"},
        tokenizer=b'{"a": 0}',
        chat_template="{{ messages }}",
        generation_config={"temperature": 0.7, "top_k": 5},
        special_ids={"eos": 1},
        calibration_windows=np.array([5, 1 << 63], dtype=np.uint64),
    )


def header_text(data: bytes) -> str:
    """Header of a safetensors file, with our metadata unfolded."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = {name: json.loads(text) for name, text in header.pop("__metadata__").items()}
    lines = [f"  {json.dumps(name)}: {json.dumps(header[name])}" for name in header]
    table = ",\n".join(lines)
    about = json.dumps(metadata, indent=2, ensure_ascii=False)
    return f'{{"metadata": {about},\n"tensors": {{\n{table}\n}}}}\n'
