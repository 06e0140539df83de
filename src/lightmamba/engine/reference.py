"""The engine's operations by the numerics objects themselves: slow, plain, the truth."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.engine.constants import LayerConstants
from lightmamba.engine.state import natural, put_natural
from lightmamba.numerics.blocks import BlockQuant, Pow2Block
from lightmamba.numerics.conv import CausalConv, Silu
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.gate import Gate
from lightmamba.numerics.linear import Epilogue, Projection, RmsNorm
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.ssm import Discretize
from lightmamba.qmodel import QuantizedLinear, QuantizedModel

__all__ = ["Reference", "Scan"]

PART = IntFormat(32)  # one norm group's share of a row of out_proj
CONV, SILU, GATE, NORM, EPILOGUE = CausalConv(), Silu(), Gate(), RmsNorm(), Epilogue()
DISCRETIZE = Discretize()


@dataclass(frozen=True)
class Scan:
    """Inputs of the SSM over a piece of each sequence; axes begin with (batch, seqlen)."""

    x: Ints  # (..., nheads, headdim padded)
    x_exp: Ints  # (..., nheads, blocks)
    B: Ints  # (..., ngroups, d_state padded)
    B_exp: Ints
    C: Ints
    C_exp: Ints
    dt: Ints  # (..., nheads), mantissa
    dt_shift: Ints  # (..., nheads)
    decay: Ints  # (..., nheads), 24 fractional bits


class Reference:
    """Every operation on arrays, with the counts of what saturated."""

    def __init__(self, model: QuantizedModel) -> None:
        c, f = model.config, model.formats
        self.config, self.dt_limits = c, model.dt_limits
        self.x_block, self.bc_block, self.ssm = f.x_block(c), f.bc_block(c), f.ssm(c)
        self.transform = f.transform

    def rms(self, x: Ints, shift: int, groups: int, eps: int) -> tuple[Ints, Ints]:
        """(mantissa, j) of each of (vectors, groups)."""
        return NORM(x, shift, groups, eps)

    def quantize(
        self, act: BlockQuant, x: Ints, channels: int, base: int
    ) -> tuple[NDArray[np.int8], NDArray[np.uint8], int, int]:
        """Block-quantize (vectors, n), zero-padded to ``channels``."""
        return act(np.pad(x, [(0, 0), (0, channels - x.shape[1])]), base)

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

    def front(
        self, k: LayerConstants, rows: Ints, state: NDArray[np.int8]
    ) -> tuple[Scan, Ints, NDArray[np.int8], Counter[str]]:
        """Convolution, SiLU, blocks of x, B and C, dt and decay of (batch, seqlen, d_in_proj).

        Returns inputs of the SSM, the convolution's output, its state, and what saturated.
        """
        c, lead = self.config, rows.shape[:2]
        split = c.splits()
        xBC, after, (lost_in, lost_out) = CONV(
            rows[..., split["x"].start : split["C"].stop], state,
            k.conv_in_shift, k.conv_weight, k.conv_bias, k.conv_out_shift,
        )  # fmt: skip
        xBC = SILU(xBC, k.conv_silu_shift)
        dt, dt_shift, decay, lost_dt = DISCRETIZE(
            rows[..., split["dt"]], k.dt_bias, self.dt_limits, k.A, k.A_shift
        )
        edge = c.d_inner + c.ngroups * c.d_state
        x, x_exp = _blocks(self.x_block, xBC[..., : c.d_inner].reshape(*lead, c.nheads, -1))
        B, B_exp = _blocks(self.bc_block, xBC[..., c.d_inner : edge].reshape(*lead, c.ngroups, -1))
        C, C_exp = _blocks(self.bc_block, xBC[..., edge:].reshape(*lead, c.ngroups, -1))
        lost = Counter({"conv.input": lost_in, "conv": lost_out, "dt": lost_dt})
        return Scan(x, x_exp, B, B_exp, C, C_exp, dt, dt_shift, decay), xBC, after, lost

    def scan(
        self,
        k: LayerConstants,
        scan: Scan,
        h: NDArray[Any],
        h_exp: NDArray[np.uint8],
        position: NDArray[np.int64],
    ) -> tuple[Ints, int, int]:
        """Run the recurrence, updating h and h_exp in their tiles (:class:`State`).

        Returns y (batch, seqlen, nheads, headdim), and overflows of h and y.
        """
        batch, seqlen, nheads = scan.dt.shape
        headdim, per_group = self.config.headdim, nheads // scan.B.shape[2]
        y = np.empty((batch, seqlen, nheads, headdim), dtype=np.int64)
        lost_h = lost_y = 0
        old, old_exp = natural(h).astype(np.int64), natural(h_exp).astype(np.int64)
        for t in range(seqlen):
            x = scan.x[:, t, :, :headdim]
            x_exp = np.repeat(scan.x_exp[:, t], self.x_block.block, axis=-1)[..., :headdim]
            B, B_exp, C, C_exp = (
                np.repeat(v[:, t], per_group, axis=1)
                for v in (scan.B, scan.B_exp, scan.C, scan.C_exp)
            )
            dt_shift = scan.dt_shift[:, t, :, None, None]
            shift = k.frame + dt_shift - x_exp[..., None] - B_exp[:, :, None]
            old, old_exp, lost = self.ssm.update(
                old, old_exp, scan.decay[:, t],
                scan.dt[:, t, :, None] * x, B, np.clip(shift, -31, 62), position + t,
            )  # fmt: skip
            out, lost_read = self.ssm.read(old, old_exp, C, C_exp, k.y)
            y[:, t], lost_skip = self.ssm.skip(out, k.D, x, k.D_shift - x_exp)
            lost_h += lost
            lost_y += lost_read + lost_skip
        put_natural(h, old)
        put_natural(h_exp, old_exp)
        return y, lost_h, lost_y

    def gate(self, k: LayerConstants, y: Ints, z: Ints) -> tuple[Ints, Ints, int]:
        """y·silu(z) and the same times the norm weight, (vectors, d_inner)."""
        return GATE(y, z, k.z_silu, k.gate, k.gate_weight, k.weighted)

    def hadamard(self, k: LayerConstants, x: Ints) -> tuple[Ints, int]:
        """Transform within each norm group, (vectors, channels of out_proj)."""
        return self.transform(x, self.config.ngroups, k.hadamard)


def _blocks(op: Pow2Block, x: Ints) -> Any:
    width = -x.shape[-1] % op.block
    return op(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width)]))
