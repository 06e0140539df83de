"""The operations of the reference by compiled loops; bit-identical, fast.

Sums of a block of products run through float32 matrix products: they stay below 2^24, so they are
exact (proved in tests/numerics/test_bounds.py).
"""

import threading
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine import kernels
from lightmamba.engine.constants import LayerConstants
from lightmamba.engine.direct import block_sums
from lightmamba.engine.reference import DISCRETIZE, EPILOGUE, GATE, NORM, PART, SILU, Scan
from lightmamba.numerics.blocks import RECIPROCALS, BlockQuant
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.hadamard import hadamard, has_hadamard
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.primitives import Ints
from lightmamba.qmodel import QuantizedLinear, QuantizedModel

__all__ = ["Compiled"]

RECIPROCAL_TABLE = np.array(RECIPROCALS)
SIGMOID, RSQRT = SILU.sigmoid, NORM.rsqrt
SIGMOID_TABLE = SIGMOID.nodes.base, SIGMOID.nodes.delta, SIGMOID.bits
RSQRT_TABLE = RSQRT.nodes.base, RSQRT.nodes.delta, RSQRT.bits
SOFTPLUS, EXP2 = DISCRETIZE.softplus, DISCRETIZE.exp2
SOFTPLUS_TABLE = SOFTPLUS.nodes.base, SOFTPLUS.nodes.delta, SOFTPLUS.shifts, SOFTPLUS.bits
EXP2_TABLE = EXP2.nodes.base, EXP2.nodes.delta, EXP2.bits, EXP2.top, EXP2.one
TILE = 32  # vectors whose block sums lie in memory at once
FEW = 2  # vectors for which weights are taken as they are stored
Weights = tuple[NDArray[np.float32], Ints]


class Compiled:
    """The operations of :class:`~lightmamba.engine.reference.Reference`, compiled."""

    def __init__(self, model: QuantizedModel) -> None:
        c, f = model.config, model.formats
        self.config, self.ssm = c, f.ssm(c)
        self.x_block, self.bc_block = f.x_block(c).block, f.bc_block(c).block
        self.dt_limits = model.dt_limits
        self.padded, self.hadamard_out = f.transform.padded(c.group_dim), f.transform.out
        core = order = f.transform.size(c.group_dim)
        while core % 2 == 0 and has_hadamard(core // 2):
            core //= 2
        self.core, self.power = hadamard(core), order // core
        self._weights: dict[int, tuple[QuantizedLinear, Weights]] = {}
        self._scratch = threading.local()

    def rms(self, x: Ints, shift: int, groups: int, eps: int) -> tuple[Ints, Ints]:
        low, high = NORM.square.min, NORM.square.max
        out: tuple[Ints, Ints] = kernels.rms(x, shift, groups, eps, low, high, RSQRT_TABLE)
        return out

    def quantize(
        self, act: BlockQuant, x: Ints, channels: int, base: int
    ) -> tuple[NDArray[np.int8], NDArray[np.uint8], int, int]:
        offset, thresholds = act.thresholds
        out: tuple[NDArray[np.int8], NDArray[np.uint8], int, int] = kernels.quantize(
            x, channels, act.block, base, (offset, *thresholds), act.qmin, act.qmax,
            RECIPROCAL_TABLE,
        )  # fmt: skip
        return out

    def _prepared(self, op: Projection, linear: QuantizedLinear) -> Weights:
        kept = self._weights.get(id(linear))
        if kept is None:
            rows, channels = linear.q.shape
            blocks = linear.q.reshape(rows, channels // op.act.block, op.act.block)
            weights = np.ascontiguousarray(blocks.transpose(1, 2, 0).astype(np.float32))
            scale = np.ascontiguousarray(op.scale.multiplier(linear.code).T)
            kept = self._weights[id(linear)] = linear, (weights, scale)
        return kept[1]

    def _sums(self, blocks: int, vectors: int, rows: int) -> NDArray[np.float32]:
        """Memory for block sums, kept for the next call of this thread."""
        size = blocks * vectors * rows
        kept = getattr(self._scratch, "sums", None)
        if kept is None or kept.size < size:
            kept = self._scratch.sums = np.empty(size, dtype=np.float32)
        return kept[:size].reshape(blocks, vectors, rows)

    def linear(
        self,
        op: Projection,
        linear: QuantizedLinear,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
        rms: tuple[Ints, Ints],
        row_shift: Ints,
        out: IntFormat,
    ) -> tuple[NDArray[Any], int]:
        mantissa, j = rms
        single = mantissa.shape[1] == 1
        form = out if single else PART
        limits = EPILOGUE.wide.min, EPILOGUE.wide.max, form.min, form.max
        rows = np.zeros((len(q), len(linear.q)), dtype=np.int32 if single else np.int64)
        act = BlockQuant.multiplier(code).astype(np.float64)
        lost = 0
        for start in range(0, len(q), TILE):
            tile = slice(start, start + TILE)
            sums, scale = self._block_sums(op, linear, q[tile])
            lost += kernels.combine(
                sums, act[tile], scale, linear.acc_shift, mantissa[tile], j[tile], row_shift,
                limits, rows[tile],
            )  # fmt: skip
        return rows, lost

    def _block_sums(
        self, op: Projection, linear: QuantizedLinear, q: NDArray[np.int8]
    ) -> tuple[NDArray[np.float32], Ints]:
        """Sums of blocks (blocks, vectors, rows), and the scales of their groups."""
        blocks, vectors, rows = q.shape[1] // op.act.block, len(q), len(linear.q)
        sums = self._sums(blocks, vectors, rows)
        if vectors <= FEW:
            block_sums(np.ascontiguousarray(q), linear.q, op.act.block, sums)
            return sums, np.ascontiguousarray(op.scale.multiplier(linear.code).T)
        weights, scale = self._prepared(op, linear)
        part = q.reshape(vectors, blocks, op.act.block).transpose(1, 0, 2)
        np.matmul(np.ascontiguousarray(part, np.float32), weights, out=sums)
        return sums, scale

    def front(
        self, k: LayerConstants, rows: Ints, state: NDArray[np.int8]
    ) -> tuple[Scan, NDArray[np.int16], NDArray[np.int8], Counter[str]]:
        c, lead = self.config, rows.shape[:2]

        def blocks(heads: int, width: int, block: int) -> tuple[NDArray[Any], NDArray[Any]]:
            count = -(-width // block)
            q = np.zeros((*lead, heads, count * block), dtype=np.int8)
            return q, np.empty((*lead, heads, count), dtype=np.int8)

        x = blocks(c.nheads, c.headdim, self.x_block)
        B = blocks(c.ngroups, c.d_state, self.bc_block)
        C = blocks(c.ngroups, c.d_state, self.bc_block)
        steps = tuple(np.empty((*lead, c.nheads), dtype=np.int64) for _ in range(3))
        xBC = np.empty((*lead, c.conv_dim), dtype=np.int16)
        conv = (
            k.conv_in_shift, k.conv_weight, k.conv_bias, k.conv_out_shift, k.conv_silu_shift
        )  # fmt: skip
        after, lost_in, lost_out, lost_dt = kernels.front(
            rows, state, (c.d_inner, c.headdim, c.d_state, self.x_block, self.bc_block),
            conv, SIGMOID_TABLE, (k.dt_bias, k.A, k.A_shift, *self.dt_limits),
            SOFTPLUS_TABLE, EXP2_TABLE, xBC, x, B, C, steps,
        )  # fmt: skip
        lost = Counter({"conv.input": lost_in, "conv": lost_out, "dt": lost_dt})
        return Scan(*x, *B, *C, *steps), xBC, after, lost

    def scan(
        self,
        k: LayerConstants,
        scan: Scan,
        h: NDArray[np.int16],
        h_exp: NDArray[np.uint8],
        position: NDArray[np.int64],
    ) -> tuple[NDArray[np.int32], int, int]:
        y = np.empty((*scan.dt.shape, self.config.headdim), dtype=np.int32)
        dithered = self.ssm.rounding == "dither"
        numbers = k.frame, k.y, k.D_shift, self.ssm.bits, self.ssm.block, dithered
        lost_h, lost_y = kernels.scan(
            scan.x, scan.x_exp, scan.B, scan.B_exp, scan.C, scan.C_exp, scan.dt, scan.dt_shift,
            scan.decay, h, h_exp, position, numbers, k.D, y,
        )  # fmt: skip
        return y, lost_h, lost_y

    def gate(
        self, k: LayerConstants, y: Ints, z: Ints
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        out: tuple[NDArray[np.int32], NDArray[np.int32], int] = kernels.gate(
            y, np.ascontiguousarray(z), k.z_silu, k.gate, k.gate_weight, k.weighted,
            GATE.out.min, GATE.out.max, SIGMOID_TABLE,
        )  # fmt: skip
        return out

    def hadamard(self, k: LayerConstants, x: Ints) -> tuple[NDArray[np.int32], int]:
        form = self.hadamard_out
        out: tuple[NDArray[np.int32], int] = kernels.hadamard(
            x, self.config.ngroups, self.padded, self.core, self.power, k.hadamard,
            form.min, form.max,
        )  # fmt: skip
        return out
