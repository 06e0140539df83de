"""A quantized model as the compiled kernels take it: structs, and weights repacked into panels."""

import ctypes
import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.blocks import kind
from lightmamba.engine.reference import PART
from lightmamba.engine.state import Layout
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.model.qmodel.model import RMS_SHIFT
from lightmamba.native.arena import Arena
from lightmamba.numerics.blocks import RECIPROCALS, BlockQuant
from lightmamba.numerics.formats import INT16, INT32, IntFormat
from lightmamba.numerics.hadamard import hadamard, has_hadamard
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.tables import Reciprocal, tables

__all__ = ["Description", "pointer"]

ROWS, STEP = 16, 32  # of a panel: rows of a tile, channels of a scale
LARGEST_CORE = 1024  # of a Hadamard matrix that is no power of two
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
        self.tables = self._tables()
        self.sizes = native.Model(
            tables=self.tables, d_model=model.config.d_model, eps=model.eps, rms_shift=RMS_SHIFT,
            vocab_size=model.config.vocab_size,
        )  # fmt: skip
        self.whole: native.Model | None = None

    @staticmethod
    def fits(model: QuantizedModel) -> bool:
        """Tell whether there are kernels for every layer of a model, and of its sizes."""
        transform = model.formats.transform
        for sizes in dict.fromkeys(model.config.layers):
            order = transform.size(sizes.out_dim // sizes.out_groups)
            if _split(order)[0] > LARGEST_CORE:
                return False
            if not kind(sizes.kind).has_kernels or not kind(sizes.kind).kernels.fits(sizes):
                return False
        return True

    @staticmethod
    def is_whole(model: QuantizedModel) -> bool:
        """Tell whether one call takes all layers; blocks that a router chooses are in panels."""
        return all(
            _in_panels(sizes.projection(model.formats, i, name))
            for i, sizes in enumerate(model.config.layers) if sizes.routed
            for name in ("router", "in_proj", "out_proj")
        )  # fmt: skip

    def ints(self, values: Any) -> int:
        """Address of a copy as int32 that is kept."""
        array = np.ascontiguousarray(values, dtype=np.int32)
        self.kept.append(array)
        return pointer(array)

    def _tables(self) -> native.Tables:
        sigmoid, softplus, exp2, rsqrt = tables()
        reciprocal = Reciprocal()
        pairs = []
        for nodes, sign in ((sigmoid.nodes, 1), (rsqrt.nodes, -1), (reciprocal.nodes, -1)):
            base, delta = nodes.base, sign * nodes.delta
            if base.min() < 0 or base.max() > 65535 or delta.min() < 0 or delta.max() > 65535:
                raise AssertionError("a table does not fit two halves of 32 bits")
            pairs.append(self.ints((base << 16 | delta).astype(np.uint32).view(np.int32)))
        return native.Tables(
            sigmoid=pairs[0],
            rsqrt=pairs[1],
            reciprocal=pairs[2],
            softplus_base=self.ints(softplus.nodes.base),
            softplus_delta=self.ints(softplus.nodes.delta),
            softplus_shift=self.ints(softplus.shifts),
            exp2_base=self.ints(exp2.nodes.base),
            exp2_delta=self.ints(exp2.nodes.delta),
            sigmoid_bits=sigmoid.bits,
            rsqrt_bits=rsqrt.bits,
            reciprocal_bits=reciprocal.bits,
            softplus_bits=softplus.bits,
            exp2_bits=exp2.bits,
        )

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
        *,
        raw: bool = False,
        blocks: int = 1,
    ) -> native.Linear:
        """Struct of a projection whose rows have the format ``out``, in ``parts`` norm groups.

        With ``raw`` they are the exact sums. Of several blocks of rows, those of the struct are the
        first. What it points to, but for the weights, is put into ``kept``.
        """
        rows, channels = linear.shape[0] // blocks, linear.shape[1]
        weights, codes, panels = self._weights(op, linear, blocks)
        shifts = np.zeros((blocks, -(-rows // ROWS) * ROWS), dtype=np.int32)
        each = np.broadcast_to(row_shift, linear.shape[:1])
        shifts[:, :rows] = each.reshape(blocks, rows)
        kept.append(shifts)
        form = out if parts == 1 else PART
        return native.Linear(
            weights=pointer(weights), codes=pointer(codes), row_shift=pointer(shifts),
            rows=rows, channels=channels, group=op.group, bits=op.bits, panels=panels,
            acc_shift=linear.acc_shift, act_bits=op.act.bits, span=span(op), low=form.min,
            high=form.max, raw=raw, act=self.blocks(op.act, linear.act_base),
        )  # fmt: skip

    def _weights(
        self, op: Projection, linear: QuantizedLinear, blocks: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool]:
        """Weights and codes in panels, or as they are where the sizes forbid it."""
        if (kept := self._panels.get(id(linear))) is not None:
            return kept[1], kept[2], kept[3]
        if not _in_panels(op):
            words, code = np.ascontiguousarray(linear.words), np.ascontiguousarray(linear.code)
            kept = linear, words, code, False
        else:
            channels, rows = linear.shape[1], linear.shape[0] // blocks
            tiles = -(-rows // ROWS)
            weights = self.arena.array((blocks, tiles, channels * op.bits * ROWS // 8), np.uint8)
            codes = self.arena.array((blocks, tiles, channels // op.group, ROWS), np.uint8)
            for n in range(blocks):
                at = slice(n * rows, (n + 1) * rows)
                words = np.ascontiguousarray(linear.words[at])
                code = np.ascontiguousarray(linear.code[at])
                self.context.call("pack", native.PackOp(
                    weights=pointer(words), codes=pointer(code), rows=rows, channels=channels,
                    group=op.group, bits=op.bits,
                    to=pointer(weights[n]), to_codes=pointer(codes[n]),
                ))  # fmt: skip
            kept = linear, weights, codes, True
        self._panels[id(linear)] = kept
        return kept[1], kept[2], kept[3]

    def layer(self, layer: QuantizedLayer, at: Mapping[str, int]) -> native.Layer:
        """Struct of a layer without its projections; ``at`` says where its state's arrays lie."""
        sizes, f = layer.mixer.sizes, self.model.formats
        own, transform = kind(sizes.kind).kernels, f.transform
        dim = sizes.out_dim // sizes.out_groups
        core, power = _split(transform.size(dim))
        mixer = own.describe(layer.mixer, f, ctypes.addressof(self.tables), at, self.ints)
        self.kept.append(mixer)
        return native.Layer(
            kind=native.KINDS.index(sizes.kind),
            transform=native.Transform(
                groups=sizes.out_groups, dim=dim, padded=transform.padded(dim), power=power,
                core_order=core, shift=layer.mixer.exponents.hadamard_shift,
                core=self.ints(hadamard(core)),
            ),
            mixer=ctypes.addressof(mixer),
        )  # fmt: skip

    def complete(self) -> native.Model:
        """The whole model, its weights repacked at the first call."""
        if self.whole is not None:
            return self.whole
        m, f, kept = self.model, self.model.formats, self.kept
        layers = (native.Layer * len(m.layers))()
        for i, layer in enumerate(m.layers):
            struct = self.layer(layer, Layout.of(m.config.layers, m.formats).starts(i))
            sizes = layer.mixer.sizes
            given = {each.name: each for each in sizes.matrices(m.config.d_model, f)}
            if sizes.routed:
                struct.router = self.linear(
                    f.router, layer.linears["router"], m.router_shift(layer), INT16, 1, kept
                )
            struct.in_proj = self.linear(
                sizes.projection(f, i, "in_proj"), layer.in_proj, m.in_shift(layer), INT16, 1, kept,
                blocks=given["in_proj"].blocks,
            )  # fmt: skip
            struct.out_proj = self.linear(
                sizes.projection(f, i, "out_proj"), layer.out_proj, m.out_shift(layer), INT32,
                sizes.out_groups, kept, blocks=given["out_proj"].blocks,
            )  # fmt: skip
            layers[i] = struct
            _give_back(m)
        whole = native.Model.from_buffer_copy(self.sizes)
        whole.head = self.linear(f.head, m.head, m.head_shift(), INT32, 1, kept)
        _give_back(m)
        table = m.embedding.q, m.embedding.code
        whole.embedding, whole.embedding_code = (pointer(part) for part in table)
        whole.embedding_shift = m.residual_exp - m.embedding.base
        whole.embedding_channels, whole.embedding_group = m.embedding.q.shape[1], f.group
        whole.layers = ctypes.addressof(layers)
        self.kept += [table, layers]
        self.whole = whole
        return whole


def _give_back(model: QuantizedModel) -> None:
    """Let go of the pages of a mapped file that repacking has read; they can be read again."""
    for base in {id(b): b for b in (_base(model.head.words), _base(model.embedding.q))}.values():
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


def _base(array: Any) -> Any:
    """Owner of an array's memory."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


def span(op: Projection) -> int:
    """Octaves between the scales of a vector up to which a group's sum fits 32 bits."""
    largest = op.group * op.largest_product * 7
    return (((1 << 31) - 1) // largest).bit_length() - 1


def _in_panels(op: Projection) -> bool:
    """Tell whether weights are repacked: sizes of groups and blocks that the kernels take."""
    return op.group % STEP == op.act.block % STEP == 0 and span(op) >= 0


def _split(order: int) -> tuple[int, int]:
    """Order of the core matrix and of the power of two of a Hadamard transform."""
    core = order
    while core % 2 == 0 and has_hadamard(core // 2):
        core //= 2
    return core, order // core
