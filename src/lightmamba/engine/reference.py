"""The engine's operations by the numerics objects themselves: slow, plain, the truth."""

import numpy as np
from numpy.typing import NDArray

from lightmamba.numerics.blocks import BlockQuant, Pow2Block
from lightmamba.numerics.conv import CausalConv, Silu
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.gate import Gate
from lightmamba.numerics.linear import Epilogue, Projection, RmsNorm
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.ssm import SsmStep
from lightmamba.qmodel import QuantizedLayer, QuantizedLinear

__all__ = ["Reference", "Scan"]

PART = IntFormat(32)  # one norm group's share of a row of out_proj
CONV, SILU, GATE, NORM, EPILOGUE = CausalConv(), Silu(), Gate(), RmsNorm(), Epilogue()


class Scan:
    """Inputs of the SSM over a piece of a sequence; axes begin with (batch, seqlen)."""

    def __init__(self, dt: Ints, dt_shift: Ints, decay: Ints, **blocks: tuple[Ints, Ints]) -> None:
        self.dt, self.dt_shift, self.decay = dt, dt_shift, decay  # (batch, seqlen, nheads)
        self.x, self.x_exp = blocks["x"]  # (..., nheads, headdim padded), (..., blocks)
        self.B, self.B_exp = blocks["B"]  # (..., ngroups, d_state padded), (..., blocks)
        self.C, self.C_exp = blocks["C"]


class Reference:
    """Every operation on arrays, with the counts of what saturated."""

    def rms(self, x: Ints, shift: int, groups: int, eps: int) -> tuple[Ints, Ints]:
        """(mantissa, j) of each of (vectors, groups)."""
        return NORM(x, shift, groups, eps)

    def quantize(
        self, act: BlockQuant, x: Ints, base: int
    ) -> tuple[NDArray[np.int8], NDArray[np.uint8], int, int]:
        """Block-quantize (vectors, channels)."""
        return act(x, base)

    def linear(
        self,
        op: Projection,
        linear: QuantizedLinear,
        q: NDArray[np.int8],
        code: NDArray[np.uint8],
        rms: tuple[Ints, Ints],
        row_shift: Ints,
        out: IntFormat,
    ) -> tuple[Ints, int]:
        """Project (vectors, channels) to (vectors, rows): one part per norm group, added."""
        mantissa, j = rms
        parts = mantissa.shape[1]
        acc = op(q, code, linear.q, linear.code, parts)
        form = out if parts == 1 else PART
        rows, lost = EPILOGUE(
            acc, linear.acc_shift, mantissa[..., None], j[..., None] + row_shift, form
        )
        return rows.sum(1), lost

    def conv(
        self, layer: QuantizedLayer, x: Ints, state: NDArray[np.int8], silu_shift: Ints
    ) -> tuple[Ints, NDArray[np.int8], int, int]:
        """Convolution and SiLU of (batch, seqlen, conv_dim)."""
        out, after, (lost_in, lost_out) = CONV(
            x, state, layer.conv_in_shift.astype(np.int64), layer.conv_weight.astype(np.int64),
            layer.conv_bias.astype(np.int64), layer.conv_out_shift.astype(np.int64),
        )  # fmt: skip
        return SILU(out, silu_shift), after, lost_in, lost_out

    def blocks(self, op: Pow2Block, x: Ints) -> tuple[Ints, Ints]:
        """Power-of-two blocks along the last axis."""
        return op(x)

    def scan(
        self,
        op: SsmStep,
        scan: Scan,
        h: NDArray[np.int16],
        h_exp: NDArray[np.uint8],
        position: NDArray[np.int64],
        headdim: int,
        frame_shift: int,
        y_shift: int,
        D: Ints,
        D_shift: int,
    ) -> tuple[Ints, int, int]:
        """Run the recurrence, updating h and h_exp: y (batch, seqlen, nheads, headdim)."""
        batch, seqlen, nheads = scan.dt.shape
        per_group = nheads // scan.B.shape[2]
        y = np.empty((batch, seqlen, nheads, headdim), dtype=np.int64)
        lost_h = lost_y = 0
        block = scan.x.shape[-1] // scan.x_exp.shape[-1]
        for t in range(seqlen):
            x = scan.x[:, t, :, :headdim]
            x_exp = np.repeat(scan.x_exp[:, t], block, axis=-1)[..., :headdim]
            B, B_exp, C, C_exp = (
                np.repeat(v[:, t], per_group, axis=1)
                for v in (scan.B, scan.B_exp, scan.C, scan.C_exp)
            )
            shift = (
                frame_shift
                + scan.dt_shift[:, t, :, None, None]
                - x_exp[..., None]
                - B_exp[:, :, None]
            )
            dtx = scan.dt[:, t, :, None] * x
            new, exponents, lost = op.update(
                h.astype(np.int64), h_exp.astype(np.int64), scan.decay[:, t], dtx, B,
                np.clip(shift, -31, 62), position + t,
            )  # fmt: skip
            h[:], h_exp[:] = new, exponents
            out, lost_read = op.read(new, exponents, C, C_exp, y_shift)
            y[:, t], lost_skip = op.skip(out, D, x, D_shift - x_exp)
            lost_h += lost
            lost_y += lost_read + lost_skip
        return y, lost_h, lost_y

    def gate(
        self, y: Ints, z: Ints, silu_shift: int, shift: int, weight: Ints, weight_shift: int
    ) -> tuple[Ints, Ints, int]:
        """y·silu(z) and the same times the norm weight, (vectors, d_inner)."""
        return GATE(y, z, silu_shift, shift, weight, weight_shift)
