"""The parts of a quantized model: integers, exponents, and their origin.

A real value is always ``q * 2**exponent`` (times a scale code, where one is stored with q).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.config import Mamba2Config
from lightmamba.numerics.formats import pack, unpack
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.tables import Q5_11
from lightmamba.qmodel.formats import Formats

__all__ = ["Exponents", "QuantizedLayer", "QuantizedLinear", "QuantizedModel", "Table"]

RMS_SHIFT = 8  # the residual is squared as int24


@dataclass(frozen=True)
class Table:
    """Embedding: int8 rows with a scale code per 128 channels and a base exponent."""

    q: NDArray[np.int8]  # (vocab_size, channels)
    code: NDArray[np.uint8]  # (vocab_size, channels / group)
    base: int


@dataclass(frozen=True)
class QuantizedLinear:
    """Weights of one projection with the static numbers that its arithmetic needs.

    The integers stay packed as in the file (:func:`~lightmamba.numerics.formats.pack`).
    """

    words: NDArray[np.uint8]  # (rows, channels * bits / 8)
    code: NDArray[np.uint8]  # (rows, channels / group)
    base: int  # exponent of the weight scales
    act_base: int  # shift of the smallest activation scale, in units of the input
    acc_shift: int  # of the finished sum, before 1/rms
    # What only the comparison recipes use; the gates have none of it.
    input_scale: NDArray[np.int16] | None = None  # (channels,), value = q * 2**input_scale_exp
    input_scale_exp: int = 0
    input_shift: NDArray[np.int16] | None = None  # (channels,), subtracted times the rms
    input_shift_exp: int = 0
    bias: NDArray[np.int32] | None = None  # (rows,), in units of the row's output
    bits: int = 4  # of a weight

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and channels."""
        return self.words.shape[0], self.words.shape[1] * 8 // self.bits

    @property
    def q(self) -> NDArray[np.int8]:
        """Integers (rows, channels), unpacked anew."""
        return unpack(self.words, self.bits)

    def with_weights(self, q: NDArray[np.int8], bits: int, **changes: Any) -> "QuantizedLinear":
        """Copy with these integers of ``bits``, and other changes."""
        return replace(self, words=pack(q, bits), bits=bits, **changes)

    @property
    def plain(self) -> bool:
        """Whether the gates can run it."""
        return self.input_scale is None and self.input_shift is None and self.bias is None


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    z: int  # int16 rows of in_proj, by kind; dt is Q5.11
    x: int
    B: int
    C: int
    conv_x: int  # int16 outputs of the convolution and of SiLU
    conv_B: int
    conv_C: int
    state: int  # the 32-bit frame of h
    y: int  # int24
    D: int
    gate: int  # int24, y·silu(z)
    gate_weight: int
    weighted: int  # int24, after the norm weight
    hadamard_shift: int = 0  # right shift after the transform

    def of_rows(self, config: Mamba2Config) -> Ints:
        """Exponent of each row of in_proj, (d_in_proj,)."""
        out = np.full(config.d_in_proj, Q5_11)
        for name, rows in config.splits().items():
            if name != "dt":
                out[rows] = getattr(self, name)
        return out

    def of_conv(self, config: Mamba2Config) -> Ints:
        """Exponent of each output of the convolution, (conv_dim,)."""
        bc = config.ngroups * config.d_state
        return np.repeat([self.conv_x, self.conv_B, self.conv_C], [config.d_inner, bc, bc])


@dataclass(frozen=True)
class QuantizedLayer:
    """One layer."""

    in_proj: QuantizedLinear
    out_proj: QuantizedLinear
    conv_weight: NDArray[np.int8]  # (d_conv, conv_dim)
    conv_bias: NDArray[np.int32]  # (conv_dim,), 24 bits, in units of the sum
    conv_in_shift: NDArray[np.int8]  # (conv_dim,)
    conv_out_shift: NDArray[np.int8]  # (conv_dim,)
    dt_bias: NDArray[np.int16]  # (nheads,), Q5.11
    A: NDArray[np.int16]  # (nheads,), |A|·log2 e
    A_shift: NDArray[np.int8]  # (nheads,)
    D: NDArray[np.int16]  # (nheads,)
    gate_weight: NDArray[np.int16]  # (d_inner,)
    exponents: Exponents
    eps_gate: int  # eps · group_dim in squared units of the gate


@dataclass(frozen=True)
class QuantizedModel:
    """A model of integers only.

    ``origin`` says where it came from: ``recipe`` (its TOML), ``source``, ``revision``,
    ``licence``, ``hashes``, ``seed``, ``errors`` by tensor, ...
    """

    config: Mamba2Config
    formats: Formats
    valid_vocab: int  # ids from here on are padding
    embedding: Table
    layers: Sequence[QuantizedLayer]
    head: QuantizedLinear
    residual_exp: int  # of the int32 residual stream
    logit_exp: int  # of the int32 logits
    eps: int  # eps · d_model in squared units of the residual >> 8
    dt_limits: tuple[int, int]  # clamp of the input of softplus, Q5.11
    origin: dict[str, Any] = field(default_factory=dict)
    tokenizer: bytes | None = None
    chat_template: str | None = None
    generation_config: dict[str, Any] = field(default_factory=dict)
    special_ids: dict[str, int | list[int]] = field(default_factory=dict)  # eos may be several
    calibration_windows: NDArray[np.uint64] = field(
        default_factory=lambda: np.zeros(0, dtype=np.uint64)
    )

    def in_shift(self, layer: QuantizedLayer) -> Ints:
        """Static right shift of each row of in_proj after 1/rms, before the j of the rms."""
        return self._rms_shift(layer.in_proj) + layer.exponents.of_rows(self.config)

    def head_shift(self) -> int:
        """The same for the logits."""
        return self._rms_shift(self.head) + self.logit_exp

    def out_shift(self, layer: QuantizedLayer) -> int:
        """The same for out_proj, whose rows are residual units."""
        e, linear = layer.exponents, layer.out_proj
        entered = e.weighted + e.hadamard_shift + linear.act_base + linear.base + linear.acc_shift
        return 23 + 2 + e.gate + self.residual_exp - entered

    def _rms_shift(self, linear: QuantizedLinear) -> int:
        return 23 + 2 + RMS_SHIFT - linear.act_base - linear.base - linear.acc_shift

    def silu_shift(self, exponent: int) -> int:
        """Right shift of a value of this exponent to the sigmoid's input."""
        return Q5_11 - exponent

    @property
    def plain(self) -> bool:
        """Whether the gates can run it."""
        linears = [layer.in_proj for layer in self.layers] + [self.head]
        return all(x.plain for x in linears + [layer.out_proj for layer in self.layers])

    def bytes_per_token(self) -> dict[str, int]:
        """Bytes a decoder must move per token, by part: weights, head, embedding, state."""
        c, f = self.config, self.formats
        k, m = f.in_channels(c), f.out_channels(c)

        def linear(rows: int, channels: int, bits: int) -> int:
            return rows * (channels * bits // 8 + channels // f.group)

        state = c.nheads * c.headdim * f.padded_state(c)
        per_layer = linear(c.d_in_proj, k, f.weight_bits) + linear(c.d_model, m, f.weight_bits)
        return {
            "projections": c.n_layer * per_layer,
            "head": linear(c.vocab_size, k, f.head_weight_bits),
            "embedding": k + k // f.group,
            "state": c.n_layer * 2 * (state * f.state_bits // 8 + state // f.ssm(c).block),
            "conv_state": c.n_layer * c.d_conv * c.conv_dim,  # three read, one written
        }
