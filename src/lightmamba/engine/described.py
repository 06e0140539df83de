"""A quantized model as the compiled kernels take it: structs, and weights repacked into panels."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.engine.arena import Arena
from lightmamba.engine.constants import LayerConstants
from lightmamba.engine.reference import DISCRETIZE, NORM, PART, SILU
from lightmamba.numerics.blocks import RECIPROCALS, BlockQuant
from lightmamba.numerics.formats import INT16, INT32, IntFormat
from lightmamba.numerics.hadamard import hadamard, has_hadamard
from lightmamba.numerics.linear import Projection
from lightmamba.qmodel import QuantizedLinear, QuantizedModel
from lightmamba.qmodel.model import RMS_SHIFT

__all__ = ["Description", "pointer"]

ROWS, STEP = 16, 32  # of a panel: rows of a tile, channels of a scale
LARGEST_CORE = 1024  # of a Hadamard matrix that is no power of two
STATE_ROWS = 16  # of headdim that lie side by side in the state
if tuple(RECIPROCALS) != (65536, 52429, 43691, 37449):
    raise AssertionError("native/quantize.hpp holds other reciprocals")


def pointer(array: NDArray[Any]) -> int:
    """Address of a C-contiguous array."""
    if not array.flags.c_contiguous:
        raise ValueError("the kernels take C-contiguous arrays")
    return array.ctypes.data


class Description:
    """Structs of one model; it keeps every array that they point to.

    Parameters
    ----------
    model : QuantizedModel
    context : native.Context
        Repacks the weights.
    """

    def __init__(self, model: QuantizedModel, context: native.Context) -> None:
        self.model, self.context = model, context
        self.kept: list[Any] = []
        self.arena = Arena()
        self._panels: dict[int, tuple[QuantizedLinear, Any, Any, bool]] = {}
        self._layers: dict[int, tuple[LayerConstants, Any]] = {}
        self.sizes = self._sizes()
        self.whole: native.Model | None = None

    @staticmethod
    def fits(model: QuantizedModel) -> bool:
        """Tell whether the kernels take the sizes of a model."""
        order = model.formats.transform.size(model.config.group_dim)
        return _split(order)[0] <= LARGEST_CORE and model.config.d_conv <= STATE_ROWS

    def ints(self, values: Any) -> int:
        """Address of a copy as int32 that is kept."""
        array = np.ascontiguousarray(values, dtype=np.int32)
        self.kept.append(array)
        return pointer(array)

    def _tables(self) -> native.Tables:
        sigmoid, rsqrt = SILU.sigmoid, NORM.rsqrt
        softplus, exp2 = DISCRETIZE.softplus, DISCRETIZE.exp2
        pairs = []
        for nodes, sign in ((sigmoid.nodes, 1), (rsqrt.nodes, -1)):
            base, delta = nodes.base, sign * nodes.delta
            if base.min() < 0 or base.max() > 65535 or delta.min() < 0 or delta.max() > 65535:
                raise AssertionError("a table does not fit two halves of 32 bits")
            pairs.append(self.ints((base << 16 | delta).astype(np.uint32).view(np.int32)))
        return native.Tables(
            sigmoid=pairs[0],
            rsqrt=pairs[1],
            softplus_base=self.ints(softplus.nodes.base),
            softplus_delta=self.ints(softplus.nodes.delta),
            softplus_shift=self.ints(softplus.shifts),
            exp2_base=self.ints(exp2.nodes.base),
            exp2_delta=self.ints(exp2.nodes.delta),
            sigmoid_bits=sigmoid.bits,
            rsqrt_bits=rsqrt.bits,
            softplus_bits=softplus.bits,
            exp2_bits=exp2.bits,
        )

    def _sizes(self) -> native.Model:
        """All but the projections and the embedding."""
        m, c, f = self.model, self.model.config, self.model.formats
        ssm, transform = f.ssm(c), f.transform
        core, power = _split(transform.size(c.group_dim))
        low, high = m.dt_limits
        return native.Model(
            tables=self._tables(),
            d_model=c.d_model, d_inner=c.d_inner, d_in_proj=c.d_in_proj, conv_dim=c.conv_dim,
            d_conv=c.d_conv, nheads=c.nheads, headdim=c.headdim, ngroups=c.ngroups,
            d_state=c.d_state, padded_state=f.padded_state(c), state_block=ssm.block,
            state_bits=ssm.bits, dithered=ssm.rounding == "dither", x_block=f.x_block(c).block,
            bc_block=f.bc_block(c).block, tile_rows=np.gcd(STATE_ROWS, c.headdim),
            group_dim=c.group_dim, padded_group=transform.padded(c.group_dim), transform=power,
            core_order=core, core=self.ints(hadamard(core)), dt_low=low, dt_high=high, eps=m.eps,
            rms_shift=RMS_SHIFT, n_layer=len(m.layers), vocab_size=c.vocab_size,
        )  # fmt: skip

    def blocks(self, act: BlockQuant, base: int) -> native.Blocks:
        """Struct of a block quantizer."""
        offset, thresholds = act.thresholds
        return native.Blocks(
            block=act.block, qmin=act.qmin, qmax=act.qmax, base=base, offset=offset,
            threshold=(native.structs.INT * 4)(*thresholds),
        )  # fmt: skip

    def linear(
        self,
        op: Projection,
        linear: QuantizedLinear,
        row_shift: Any,
        out: IntFormat,
        parts: int,
        kept: list[Any],
    ) -> native.Linear:
        """Struct of a projection whose rows have the format ``out``, in ``parts`` norm groups.

        What it points to, but for the weights, is put into ``kept``.
        """
        rows, channels = linear.shape
        weights, codes, panels = self._weights(op, linear)
        shifts = np.zeros(-(-rows // ROWS) * ROWS, dtype=np.int32)
        shifts[:rows] = row_shift
        kept.append(shifts)
        form = out if parts == 1 else PART
        return native.Linear(
            weights=pointer(weights), codes=pointer(codes), row_shift=pointer(shifts),
            rows=rows, channels=channels, group=op.group, bits=op.bits, panels=panels,
            acc_shift=linear.acc_shift, act_bits=op.act.bits, span=span(op), low=form.min,
            high=form.max, act=self.blocks(op.act, linear.act_base),
        )  # fmt: skip

    def _weights(
        self, op: Projection, linear: QuantizedLinear
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool]:
        """Weights and codes in panels, or as they are where the sizes forbid it."""
        if (kept := self._panels.get(id(linear))) is not None:
            return kept[1], kept[2], kept[3]
        if op.group % STEP or op.act.block % STEP or span(op) < 0:
            words, code = np.ascontiguousarray(linear.words), np.ascontiguousarray(linear.code)
            kept = linear, words, code, False
        else:
            (rows, channels), tiles = linear.shape, -(-linear.shape[0] // ROWS)
            weights = self.arena.array((tiles, channels * op.bits * ROWS // 8), np.uint8)
            codes = self.arena.array((tiles, channels // op.group, ROWS), np.uint8)
            words, code = np.ascontiguousarray(linear.words), np.ascontiguousarray(linear.code)
            self.context.call("pack", native.PackOp(
                weights=pointer(words), codes=pointer(code), rows=rows, channels=channels,
                group=op.group, bits=op.bits, to=pointer(weights), to_codes=pointer(codes),
            ))  # fmt: skip
            kept = linear, weights, codes, True
        self._panels[id(linear)] = kept
        return kept[1], kept[2], kept[3]

    def layer(self, k: LayerConstants) -> native.Layer:
        """Struct of a layer's constants, without its projections and its epsilon."""
        if (kept := self._layers.get(id(k))) is None:
            arrays = {
                name: self.ints(getattr(k, name))
                for name in (
                    "conv_in_shift", "conv_weight", "conv_bias", "conv_out_shift",
                    "conv_silu_shift", "dt_bias", "A", "A_shift", "D", "gate_weight",
                )
            }  # fmt: skip
            numbers = {
                name: int(getattr(k, name))
                for name in ("frame", "y", "D_shift", "z_silu", "gate", "weighted", "hadamard")
            }
            struct = native.Layer(**arrays, **numbers)
            kept = self._layers[id(k)] = k, struct
        return kept[1]

    def for_layer(self, k: LayerConstants) -> native.Model:
        """The sizes with one layer, for its phases alone."""
        one = native.Model.from_buffer_copy(self.sizes)
        layers = (native.Layer * 1)(self.layer(k))
        one.layers = layers
        return one

    def complete(self, constants: list[LayerConstants]) -> native.Model:
        """The whole model, its weights repacked at the first call."""
        if self.whole is not None:
            return self.whole
        m, f, parts = self.model, self.model.formats, self.model.config.ngroups
        kept = self.kept
        layers = (native.Layer * len(m.layers))()
        for i, (layer, k) in enumerate(zip(m.layers, constants, strict=True)):
            struct = native.Layer.from_buffer_copy(self.layer(k))
            struct.eps_gate = layer.eps_gate
            struct.in_proj = self.linear(f.projection, layer.in_proj, k.in_shift, INT16, 1, kept)
            struct.out_proj = self.linear(
                f.projection, layer.out_proj, k.out_shift, INT32, parts, kept
            )
            layers[i] = struct
        whole = native.Model.from_buffer_copy(self.sizes)
        shift = np.full(m.config.vocab_size, m.head_shift())
        whole.head = self.linear(f.head, m.head, shift, INT32, 1, kept)
        table = m.embedding.q, m.embedding.code
        whole.embedding, whole.embedding_code = (pointer(part) for part in table)
        whole.embedding_shift = m.residual_exp - m.embedding.base
        whole.embedding_channels, whole.embedding_group = m.embedding.q.shape[1], f.group
        whole.layers = layers
        self.kept += [table, layers]
        self.whole = whole
        _give_back(m)
        return whole


def _give_back(model: QuantizedModel) -> None:
    """Let go of the pages of a mapped file that repacking has read; they can be read again."""
    for base in {id(b): b for b in (_base(model.head.words), _base(model.embedding.q))}.values():
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


def _base(array: Any) -> Any:
    """What owns the memory of an array."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


def span(op: Projection) -> int:
    """Octaves between the scales of a vector up to which a group's sum fits 32 bits."""
    largest = op.group * op.largest_product * 7
    return (((1 << 31) - 1) // largest).bit_length() - 1


def _split(order: int) -> tuple[int, int]:
    """Order of the core matrix and of the power of two of a Hadamard transform."""
    core = order
    while core % 2 == 0 and has_hadamard(core // 2):
        core //= 2
    return core, order // core
