"""The parts of a quantized model: integers, exponents, and their origin.

A real value is always ``q * 2**exponent`` (times a scale code, where one is stored with q).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Mixer
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.formats import pack, unpack
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["LazyLayers", "QuantizedLayer", "QuantizedLinear", "QuantizedModel", "Table"]

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
    # What only the comparison recipes use; the hardware has none of it.
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
        """Integers (rows, channels), unpacked on every call."""
        return unpack(self.words, self.bits)

    def part(self, rows: slice) -> "QuantizedLinear":
        """Some of the rows."""
        bias = None if self.bias is None else self.bias[rows]
        return replace(self, words=self.words[rows], code=self.code[rows], bias=bias)

    def with_weights(self, q: NDArray[np.int8], bits: int, **changes: Any) -> "QuantizedLinear":
        """Copy with these integers of ``bits``, and other changes."""
        return replace(self, words=pack(q, bits), bits=bits, **changes)

    @property
    def plain(self) -> bool:
        """Whether the hardware can run it."""
        return self.input_scale is None and self.input_shift is None and self.bias is None


@dataclass(frozen=True)
class QuantizedLayer:
    """One layer: its matrices, by the names of its sizes' ``matrices``, and what its kind does."""

    linears: Mapping[str, QuantizedLinear]
    mixer: Mixer

    @property
    def in_proj(self) -> QuantizedLinear:
        """Projection of the residual stream."""
        return self.linears["in_proj"]

    @property
    def out_proj(self) -> QuantizedLinear:
        """Projection back."""
        return self.linears["out_proj"]

    def with_linears(self, **changes: QuantizedLinear) -> "QuantizedLayer":
        """Copy with other matrices."""
        return replace(self, linears={**self.linears, **changes})


class LazyLayers(Sequence[QuantizedLayer]):
    """Layers that are made when they are asked for; the last one is kept."""

    def __init__(self, count: int, make: Callable[[int], QuantizedLayer]) -> None:
        self._count, self._make = count, make
        self._last: tuple[int, QuantizedLayer] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> QuantizedLayer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[QuantizedLayer, ...]: ...
    def __getitem__(self, index: int | slice) -> QuantizedLayer | tuple[QuantizedLayer, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        i = range(len(self))[index]
        if self._last is None or self._last[0] != i:
            self._last = i, self._make(i)
        return self._last[1]


@dataclass(frozen=True)
class QuantizedModel:
    """A model of integers only.

    ``origin`` says where it came from: ``recipe`` (its TOML), ``source``, ``revision``,
    ``licence``, ``hashes``, ``seed``, ``errors`` by tensor, ...
    """

    config: ModelConfig
    formats: Formats
    valid_vocab: int  # ids from here on are padding
    embedding: Table
    layers: Sequence[QuantizedLayer]
    head: QuantizedLinear
    residual_exp: int  # of the int32 residual stream
    logit_exp: int  # of the int32 logits
    eps: int  # eps · d_model in squared units of the residual >> 8
    origin: dict[str, Any] = field(default_factory=dict)
    tokenizer: bytes | None = None
    chat_template: str | None = None
    generation_config: dict[str, Any] = field(default_factory=dict)
    special_ids: dict[str, int | list[int]] = field(default_factory=dict)  # eos may be several
    calibration_windows: NDArray[np.uint64] = field(
        default_factory=lambda: np.zeros(0, dtype=np.uint64)
    )

    def router_shift(self, layer: QuantizedLayer) -> int:
        """Static shift of a router's rows."""
        return self._rms_shift(layer.linears["router"]) + int(layer.mixer.exponents.router)

    def in_shift(self, layer: QuantizedLayer) -> Ints:
        """Static right shift of each row of in_proj after 1/rms, before the j of the rms."""
        return self._rms_shift(layer.in_proj) + layer.mixer.row_exponents()

    def head_shift(self) -> int:
        """Static shift of a row of the LM head."""
        return self._rms_shift(self.head) + self.logit_exp

    def out_shift(self, layer: QuantizedLayer) -> int:
        """Static shift of a row of out_proj, which has the exponent of the residual."""
        mixer, linear = layer.mixer, layer.out_proj
        entered = mixer.out_exponent + linear.act_base + linear.base + linear.acc_shift
        return 23 + 2 + mixer.norm_exponent + self.residual_exp - entered

    def _rms_shift(self, linear: QuantizedLinear) -> int:
        return 23 + 2 + RMS_SHIFT - linear.act_base - linear.base - linear.acc_shift

    @property
    def plain(self) -> bool:
        """Whether the hardware can run it."""
        linears = [linear for layer in self.layers for linear in layer.linears.values()]
        return all(linear.plain for linear in [*linears, self.head])

    def bytes_per_token(self) -> dict[str, int]:
        """Bytes a decoder must move per token, by part: weights, head, embedding, states.

        Those of the states are read and written whole; attention's grow with the context and are
        not among them.
        """
        c, f = self.config, self.formats
        k = f.in_channels(c.d_model)

        def linear(rows: int, channels: int, bits: int) -> int:
            return rows * (channels * bits // 8 + channels // f.group)

        projections = sum(
            linear(own.read, own.columns, sizes.projection(f, i, own.name).bits)
            for i, sizes in enumerate(c.layers)
            for own in sizes.matrices(c.d_model, f)
        )
        states = Counter[str]()
        for sizes in c.layers:
            states.update(kind(sizes.kind).integers.bytes_per_token(sizes, f))
        return {
            "projections": projections,
            "head": linear(c.vocab_size, k, f.head_weight_bits),
            "embedding": k + k // f.group,
            **states,
        }
