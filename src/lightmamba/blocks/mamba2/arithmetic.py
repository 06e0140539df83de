"""A Mamba2 mixer in exact integers, by the numerics objects themselves: slow, plain, the truth."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import base, layer
from lightmamba.blocks.base import Arrays
from lightmamba.blocks.layer import Observe, Rms, hadamard_shift
from lightmamba.blocks.mamba2.quantized import (
    TILE,
    Constants,
    Exponents,
    Mixer,
    Sizes,
    bc_block,
    natural,
    padded_state,
    put_natural,
    ssm_step,
    x_block,
)
from lightmamba.numerics.blocks import Pow2Block
from lightmamba.numerics.conv import CausalConv, Silu
from lightmamba.numerics.gate import Gate
from lightmamba.numerics.linear import RmsNorm
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.ssm import Discretize
from lightmamba.numerics.tables import Q5_11, tables

__all__ = ["UNIT_EXP", "Arithmetic", "Integers", "Mixer", "Scan", "Sizes", "updates"]

CONV, SILU, GATE, NORM, DISCRETIZE = CausalConv(), Silu(), Gate(), RmsNorm(), Discretize()
Array = NDArray[Any]
# Random layers: int16 rows up to 8 and outputs of the convolution up to 16, int24 y up to 2,048,
# int16 D and norm weights up to 4, and a typical y·silu(z).
ROWS_EXP, CONV_EXP, STATE_EXP, Y_EXP, UNIT_EXP, MIXED = -12, -11, -22, -12, -13, 8.0


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


class Arithmetic(layer.Arithmetic):
    """Arithmetic of a layer between its projections.

    Parameters
    ----------
    mixer : Mixer
        Of one layer.
    formats : Formats
    """

    def __init__(self, mixer: Mixer, formats: Formats) -> None:
        super().__init__(mixer, formats)
        self.k, self.ssm = Constants.of(mixer), ssm_step(mixer.sizes, formats)
        self.x_block, self.bc_block = x_block(mixer.sizes), bc_block(mixer.sizes, formats)

    def run(
        self,
        rows: Ints,
        state: Mapping[str, Array],
        position: NDArray[np.int64],
        lost: Counter[str],
        observe: Observe | None = None,
    ) -> tuple[Ints, Rms]:
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
        last = {"g": g, "weighted": weighted, "mixed": mixed}
        arrays = {"conv": xBC, **vars(scan), "y": y}
        arrays |= {name: value.reshape(*lead, -1) for name, value in last.items()}
        self.show(observe, arrays, state, position)
        return mixed, rms

    @staticmethod
    def observables(
        sizes: Sizes,
        arrays: Mapping[str, Array],
        state: Mapping[str, Any],
        position: NDArray[np.int64],
    ) -> Iterator[tuple[str, Array]]:
        yield "conv.out", arrays["conv"]
        yield "conv.state", state["conv"].copy()
        for name in Scan.__dataclass_fields__:
            yield f"ssm.{name}", arrays[name]
        yield "ssm.h", natural(state["h"])
        yield "ssm.h_exp", natural(state["h_exp"])
        y = arrays["y"]
        yield "ssm.y", y.reshape(*y.shape[:2], sizes.nheads, sizes.headdim)
        yield "gate.g", arrays["g"]
        yield "gate.weighted", arrays["weighted"]

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


def _blocks(op: Pow2Block, x: Ints) -> Any:
    width = -x.shape[-1] % op.block
    return op(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width)]))


def updates(sizes: Sizes, formats: Formats) -> Arrays:
    """Arrays of a token from which the state is updated."""
    wide, block = x_block(sizes).block, bc_block(sizes, formats).block
    x_blocks, blocks = -(-sizes.headdim // wide), -(-sizes.d_state // block)
    i8, i32 = np.int8, np.int32
    return {
        "x": (i8, (sizes.nheads, x_blocks * wide)), "x_exp": (i8, (sizes.nheads, x_blocks)),
        "B": (i8, (sizes.ngroups, blocks * block)), "B_exp": (i8, (sizes.ngroups, blocks)),
        "dt": (i32, (sizes.nheads,)), "dt_shift": (i32, (sizes.nheads,)),
        "decay": (i32, (sizes.nheads,)),
    }  # fmt: skip


class Integers(base.Integers):
    """Numbers and arithmetic of Mamba2."""

    losses = ("conv.input", "conv", "dt", "ssm.h", "ssm.y", "gate", "hadamard")

    def state(self, sizes: Sizes, formats: Formats) -> Arrays:
        """Last inputs of the convolution, and the SSM state in its tiles."""
        d_state, rows = padded_state(sizes, formats), math.gcd(TILE, sizes.headdim)
        tiles, blocks = sizes.headdim // rows, d_state // ssm_step(sizes, formats).block
        h = np.int8 if formats.state_bits == 8 else np.int16
        return {
            "conv": (np.int8, (sizes.d_conv - 1, sizes.conv_dim)),
            "h": (h, (sizes.nheads, tiles, d_state, rows)),
            "h_exp": (np.uint8, (sizes.nheads, tiles, blocks, rows)),
        }

    def record(self, sizes: Sizes, formats: Formats) -> Arrays:
        """Input of the convolution, and what an update of the state needs."""
        return {"taps": (np.int8, (sizes.conv_dim,)), **updates(sizes, formats)}

    def bytes_per_token(self, sizes: Sizes, formats: Formats) -> dict[str, int]:
        """The state read and written, the convolution's inputs too."""
        elements = sizes.nheads * sizes.headdim * padded_state(sizes, formats)
        exponents = elements // ssm_step(sizes, formats).block
        return {
            "state": 2 * (elements * formats.state_bits // 8 + exponents),
            "conv_state": sizes.d_conv * sizes.conv_dim,  # three read, one written
        }

    def float_values(self, sizes: Sizes) -> int:
        return sizes.nheads * sizes.headdim * sizes.d_state

    def float_chunk(self, sizes: Sizes, vectors: int) -> int:
        """A row of the matrix of a chunk."""
        return sizes.nheads * min(sizes.chunk_size, vectors)

    def output(self, sizes: Sizes, formats: Formats) -> tuple[float, float]:
        order, shift = formats.transform.size(sizes.group_dim), hadamard_shift(sizes, formats)
        gain = 0.4 / math.sqrt(order * sizes.ngroups)
        return gain, MIXED * math.sqrt(order) * 2.0 ** -(Y_EXP + shift)

    def random_mixer(self, rng: np.random.Generator, sizes: Sizes, formats: Formats) -> Mixer:
        """Random integers with slow and fast decays, and all sizes of dt."""
        c = sizes
        # A from 1/64 to 16 and dt from 0.001 to 0.3, both spread evenly over the octaves.
        A = np.exp2(rng.uniform(-6, 4, c.nheads)) * math.log2(math.e)
        A_shift = 15 - np.frexp(A * (1 + 2.0**-16))[1]
        dt = np.exp(rng.uniform(math.log(1e-3), math.log(0.3), c.nheads))
        # Inputs of the convolution have 8 bits for ±8 or ±16; taps 8 for ±1 to ±4.
        weight_exp = rng.integers(-7, -4, c.conv_dim)
        taps = rng.standard_normal((c.d_conv, c.conv_dim)) / math.sqrt(c.d_conv)
        in_shift = rng.integers(8, 10, c.conv_dim)
        unit = ROWS_EXP + in_shift + weight_exp
        bias = 0.2 * rng.standard_normal(c.conv_dim) * c.conv_bias
        low, high = tables()[1].limits(*c.dt_limit)

        def fixed(
            value: NDArray[np.float64], exponent: NDArray[np.int64] | int, bits: int
        ) -> NDArray[np.float64]:
            top = 1 << (bits - 1)
            return np.rint(value * 2.0 ** -np.asarray(exponent, float)).clip(-top, top - 1)

        return Mixer(
            sizes=sizes,
            exponents=self._exponents(sizes, formats),
            conv_weight=fixed(taps, weight_exp, 8).astype(np.int8),
            conv_bias=fixed(bias, unit, 24).astype(np.int32),
            conv_in_shift=in_shift.astype(np.int8),
            conv_out_shift=(CONV_EXP - unit).astype(np.int8),
            dt_bias=fixed(np.log(np.expm1(dt)), Q5_11, 16).astype(np.int16),
            A=fixed(A, -A_shift, 16).astype(np.int16),
            A_shift=A_shift.astype(np.int8),
            D=fixed(1 + 0.3 * rng.standard_normal(c.nheads), UNIT_EXP, 16).astype(np.int16),
            gate_weight=fixed(1 + 0.3 * rng.standard_normal(c.d_inner), UNIT_EXP, 16).astype(
                np.int16
            ),
            eps_gate=max(1, round(c.eps * c.group_dim * 2.0 ** (-2 * Y_EXP))),
            dt_low=low,
            dt_high=high,
        )

    def _exponents(self, sizes: Sizes, formats: Formats) -> Exponents:
        return Exponents(
            z=ROWS_EXP, x=ROWS_EXP, B=ROWS_EXP, C=ROWS_EXP,
            conv_x=CONV_EXP, conv_B=CONV_EXP, conv_C=CONV_EXP,
            state=STATE_EXP, y=Y_EXP, D=UNIT_EXP,
            gate=Y_EXP, gate_weight=UNIT_EXP, weighted=Y_EXP,
            hadamard_shift=hadamard_shift(sizes, formats),
        )  # fmt: skip
