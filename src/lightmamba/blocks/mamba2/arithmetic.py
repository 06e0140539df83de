"""A Mamba2 mixer in exact integers, by the numerics objects themselves: slow, plain, the truth."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.mamba2.quantized import Constants, Mixer
from lightmamba.blocks.mamba2.state import bc_block, natural, put_natural, ssm_step, x_block
from lightmamba.blocks.protocols import Observe, Rms
from lightmamba.numerics.blocks import Pow2Block
from lightmamba.numerics.conv import CausalConv, Silu
from lightmamba.numerics.gate import Gate
from lightmamba.numerics.linear import RmsNorm
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.ssm import Discretize

__all__ = ["LOSSES", "Arithmetic", "Scan"]

CONV, SILU, GATE, NORM, DISCRETIZE = CausalConv(), Silu(), Gate(), RmsNorm(), Discretize()
LOSSES = ("conv.input", "conv", "dt", "ssm.h", "ssm.y", "gate", "hadamard")
Array = NDArray[Any]


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


class Arithmetic:
    """Arithmetic of a layer between its projections.

    Parameters
    ----------
    mixer : Mixer
        Of one layer.
    formats : Formats
    """

    def __init__(self, mixer: Mixer, formats: Formats) -> None:
        self.sizes, self.mixer, self.k = mixer.sizes, mixer, Constants.of(mixer)
        self.x_block, self.bc_block = x_block(mixer.sizes), bc_block(mixer.sizes, formats)
        self.ssm, self.transform = ssm_step(mixer.sizes, formats), formats.transform

    def run(
        self,
        rows: Ints,
        state: Mapping[str, Array],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
        """See :class:`lightmamba.blocks.protocols.Arithmetic`."""
        c, lead = self.sizes, rows.shape[:2]
        scan, xBC, after, lost_front = self.front(rows, state["conv"])
        state["conv"][...] = after
        h, h_exp = state["h"], state["h_exp"]
        y, lost_h, lost_y = self.scan(scan, h, h_exp, position)
        z = rows[..., c.sections()["z"]].reshape(-1, c.d_inner)
        g, weighted, lost_gate = self.gate(y.reshape(-1, c.d_inner), z)
        rms = self.rms(g)
        mixed, lost_mixed = self.hadamard(weighted)
        lost.update(lost_front)
        lost.update({"ssm.h": lost_h, "ssm.y": lost_y, "gate": lost_gate, "hadamard": lost_mixed})
        if observe is not None:
            found: dict[str, Array] = {"conv.out": xBC, "conv.state": after}
            found |= {f"ssm.{name}": value for name, value in vars(scan).items()}
            found |= {"ssm.h": natural(h), "ssm.h_exp": natural(h_exp), "ssm.y": y}
            flat = {"gate.g": g, "gate.weighted": weighted, "hadamard.out": mixed}
            for name, value in found.items():
                observe(name, value)
            for name, value in flat.items():
                observe(name, value.reshape(*lead, -1))
        return mixed, rms

    def front(
        self, rows: Ints, state: NDArray[np.int8]
    ) -> tuple[Scan, Ints, NDArray[np.int8], Counter[str]]:
        """Convolution, SiLU, blocks of x, B and C, dt and decay of (batch, seqlen, in_rows).

        Returns inputs of the SSM, the convolution's output, its state, and what saturated.
        """
        c, k, lead = self.sizes, self.k, rows.shape[:2]
        split = c.sections()
        xBC, after, (lost_in, lost_out) = CONV(
            rows[..., split["x"].start : split["C"].stop], state,
            k.conv_in_shift, k.conv_weight, k.conv_bias, k.conv_out_shift,
        )  # fmt: skip
        xBC = SILU(xBC, k.conv_silu_shift)
        limits = self.mixer.dt_low, self.mixer.dt_high
        dt, dt_shift, decay, lost_dt = DISCRETIZE(
            rows[..., split["dt"]], k.dt_bias, limits, k.A, k.A_shift
        )
        edge = c.d_inner + c.ngroups * c.d_state
        x, x_exp = _blocks(self.x_block, xBC[..., : c.d_inner].reshape(*lead, c.nheads, -1))
        B, B_exp = _blocks(self.bc_block, xBC[..., c.d_inner : edge].reshape(*lead, c.ngroups, -1))
        C, C_exp = _blocks(self.bc_block, xBC[..., edge:].reshape(*lead, c.ngroups, -1))
        lost = Counter({"conv.input": lost_in, "conv": lost_out, "dt": lost_dt})
        return Scan(x, x_exp, B, B_exp, C, C_exp, dt, dt_shift, decay), xBC, after, lost

    def scan(
        self, scan: Scan, h: Array, h_exp: NDArray[np.uint8], position: NDArray[np.int64]
    ) -> tuple[Ints, int, int]:
        """Run the recurrence, updating h and h_exp in their tiles.

        Returns y (batch, seqlen, nheads, headdim), and overflows of h and y.
        """
        k, (batch, seqlen, nheads) = self.k, scan.dt.shape
        headdim, per_group = self.sizes.headdim, nheads // scan.B.shape[2]
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

    def gate(self, y: Ints, z: Ints) -> tuple[Ints, Ints, int]:
        """y·silu(z) and the same times the norm weight, (vectors, d_inner), and overflows."""
        k = self.k
        return GATE(y, z, k.z_silu, k.gate, k.gate_weight, k.weighted)

    def rms(self, g: Ints) -> Rms:
        """1/rms of each norm group of (vectors, d_inner)."""
        return NORM(g, 0, self.sizes.ngroups, self.mixer.eps_gate)

    def hadamard(self, x: Ints) -> tuple[Ints, int]:
        """Transform within each norm group, (vectors, channels of out_proj), and overflows."""
        return self.transform(x, self.sizes.ngroups, self.k.hadamard)


def _blocks(op: Pow2Block, x: Ints) -> Any:
    width = -x.shape[-1] % op.block
    return op(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width)]))
