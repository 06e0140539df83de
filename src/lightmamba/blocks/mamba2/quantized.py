"""Sizes and integers of a Mamba2 mixer, each tensor and number declared once.

Sizes have the field's names and the paper's letters. A real value is always ``q * 2**exponent``.
The SSM state lies in tiles of up to 16 rows of headdim, side by side, as the compiled kernels walk
it; :func:`natural` gives it in the order of its axes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks import layer
from lightmamba.blocks.layer import Limit
from lightmamba.blocks.tensors import exponent, number, tensor
from lightmamba.numerics.blocks import Pow2Block
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.ssm import SsmStep
from lightmamba.numerics.tables import Q5_11

__all__ = [
    "TILE", "Constants", "Exponents", "Mixer", "Sizes", "bc_block", "natural", "padded_state",
    "put_natural", "ssm_step", "x_block",
]  # fmt: skip

TILE = 16  # rows of headdim side by side, where they divide it
SILU_SHIFT = (-31, 62)  # of int16
PRODUCT_SHIFT = (-20, 62)  # of 40-bit products
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Sizes(layer.Sizes):
    """Validated sizes.

    Raises
    ------
    ValueError
        If the sizes cannot belong together; the sentence names the field and what would be right.
    """

    kind: ClassVar[str] = "mamba2"

    nheads: int  # (H)
    headdim: int = 64  # (P)
    d_state: int = 128  # state dimension (N)
    ngroups: int = 1  # heads of one group share B and C (G)
    d_conv: int = 4  # taps of the causal convolution
    chunk_size: int = 64  # tokens per chunk of the parallel form (Q)
    conv_bias: bool = True
    eps: float = 1e-5  # of the gated norm
    dt_limit: tuple[float, float] = (0.0, math.inf)  # clamp of dt after softplus

    def __post_init__(self) -> None:
        layer.positive(vars(self), "nheads", "headdim", "d_state", "ngroups", "chunk_size")
        if self.nheads % self.ngroups:
            raise ValueError(f"ngroups {self.ngroups} does not divide nheads {self.nheads}")
        if self.d_conv < 2:
            raise ValueError(f"d_conv must be at least 2, not {self.d_conv}")
        low, high = self.dt_limit
        if not 0.0 <= low < high:
            raise ValueError(f"dt_limit must be 0 <= low < high, not {self.dt_limit}")
        if not 0.0 < self.eps < 1.0:
            raise ValueError(f"eps must lie between 0 and 1, not {self.eps}")

    @property
    def d_inner(self) -> int:
        """Width of z, x and y."""
        return self.nheads * self.headdim

    @property
    def conv_dim(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.d_inner + 2 * self.ngroups * self.d_state

    @property
    def group_dim(self) -> int:
        """Channels that share one rms of the gated norm."""
        return self.d_inner // self.ngroups

    @property
    def out_dim(self) -> int:
        """Channels of the input of out_proj."""
        return self.d_inner

    @property
    def out_groups(self) -> int:
        """Norm groups of the input of out_proj."""
        return self.ngroups

    @property
    def out_normed(self) -> bool:
        """True: a gated norm is in front of out_proj."""
        return True

    def sections(self) -> dict[str, slice]:
        """Rows of in_proj by name, in the order z, x, B, C, dt."""
        sizes = {
            "z": self.d_inner,
            "x": self.d_inner,
            "B": self.ngroups * self.d_state,
            "C": self.ngroups * self.d_state,
            "dt": self.nheads,
        }
        edges, start = {}, 0
        for name, size in sizes.items():
            edges[name] = slice(start, start + size)
            start += size
        return edges


@dataclass(frozen=True)
class Exponents:
    """Static exponents of one layer, from calibration."""

    z: int = exponent()  # int16 rows of in_proj, by kind; dt is Q5.11
    x: int = exponent()
    B: int = exponent()
    C: int = exponent()
    conv_x: int = exponent()  # int16 outputs of the convolution and of SiLU
    conv_B: int = exponent()
    conv_C: int = exponent()
    state: int = exponent()  # the 32-bit frame of h
    y: int = exponent()  # int24
    D: int = exponent()
    gate: int = exponent()  # int24, y·silu(z)
    gate_weight: int = exponent()
    weighted: int = exponent()  # int24, after the norm weight
    hadamard_shift: int = number(0, 31)  # right shift after the transform


@dataclass(frozen=True)
class Mixer(layer.Mixer):
    """Everything of a layer but its two projections."""

    sizes: Sizes
    exponents: Exponents
    conv_weight: NDArray[np.int8] = tensor("int8", "d_conv", "conv_dim")
    conv_bias: NDArray[np.int32] = tensor("int32", "conv_dim", low=-(1 << 23), high=(1 << 23) - 1)
    conv_in_shift: NDArray[np.int8] = tensor("int8", "conv_dim", low=0, high=15)
    conv_out_shift: NDArray[np.int8] = tensor("int8", "conv_dim", low=-24, high=40)
    dt_bias: NDArray[np.int16] = tensor("int16", "nheads")  # Q5.11
    A: NDArray[np.int16] = tensor("int16", "nheads", low=0)  # |A|·log2 e
    A_shift: NDArray[np.int8] = tensor("int8", "nheads", low=-17, high=47)
    D: NDArray[np.int16] = tensor("int16", "nheads")
    gate_weight: NDArray[np.int16] = tensor("int16", "d_inner")
    eps_gate: int = number(1, 1 << 60)  # eps · group_dim in squared units of the gate
    dt_low: int = number(-32768, 32767)  # clamp of the input of softplus, Q5.11
    dt_high: int = number(-32768, 32767)

    @property
    def out_exponent(self) -> int:
        """Exponent of the values that go to out_proj."""
        return self.exponents.weighted + self.exponents.hadamard_shift

    @property
    def norm_exponent(self) -> int:
        """Exponent of the values whose 1/rms multiplies the rows of out_proj."""
        return self.exponents.gate

    def row_exponents(self) -> Ints:
        """Exponent of each row of in_proj, (in_rows,)."""
        out = np.full(self.sizes.in_rows, Q5_11)
        for name, rows in self.sizes.sections().items():
            if name != "dt":
                out[rows] = getattr(self.exponents, name)
        return out

    def conv_exponents(self) -> Ints:
        """Exponent of each output of the convolution, (conv_dim,)."""
        e, c = self.exponents, self.sizes
        bc = c.ngroups * c.d_state
        return np.repeat([e.conv_x, e.conv_B, e.conv_C], [c.d_inner, bc, bc])

    def limits(self) -> Iterator[Limit]:
        """Derived numbers that engine and hardware rely on."""
        e, k = self.exponents, Constants.of(self)
        yield "dt_low", self.dt_low, -32768, self.dt_high
        for part in ("z", "conv_x", "conv_B", "conv_C"):
            shift = Q5_11 - getattr(e, part)
            yield f"the shift of {part} to the sigmoid's input", shift, *SILU_SHIFT
        yield "the shift of y", k.y, 0, 62
        yield "the shift of the gate", k.gate, *PRODUCT_SHIFT
        yield "the shift of the norm weight", k.weighted, *PRODUCT_SHIFT


@dataclass(frozen=True)
class Constants:
    """The static numbers as the operations take them: int64 arrays; right shifts, unless said."""

    conv_in_shift: Ints  # (conv_dim,)
    conv_weight: Ints  # (d_conv, conv_dim), integers
    conv_bias: Ints  # (conv_dim,), in units of the sum
    conv_out_shift: Ints  # (conv_dim,)
    conv_silu_shift: Ints  # (conv_dim,), to the sigmoid's input
    dt_bias: Ints  # (nheads,), Q5.11
    A: Ints  # (nheads,), mantissa
    A_shift: Ints  # (nheads,)
    D: Ints  # (nheads,), integers
    gate_weight: Ints  # (d_inner,), integers
    frame: int  # dt·x·B into the frame of the state
    y: int  # state times C to y
    D_shift: int  # D·x to y
    z_silu: int  # z to the sigmoid's input
    gate: int  # y·silu(z) to g
    weighted: int  # g times the norm weight

    @staticmethod
    def of(mixer: Mixer) -> "Constants":
        """Constants of one layer."""
        e = mixer.exponents
        same = ("conv_in_shift", "conv_weight", "conv_bias", "conv_out_shift", "dt_bias", "A",
                "A_shift", "D", "gate_weight")  # fmt: skip
        return Constants(
            **{name: getattr(mixer, name).astype(np.int64) for name in same},
            conv_silu_shift=Q5_11 - mixer.conv_exponents(),
            frame=e.state - e.conv_x - e.conv_B,
            y=e.y - e.state - e.conv_C,
            D_shift=e.y - e.D - e.conv_x,
            z_silu=Q5_11 - e.z,
            gate=e.gate - e.y - e.z,
            weighted=e.weighted - e.gate - e.gate_weight,
        )


def x_block(sizes: Sizes) -> Pow2Block:
    """Blocks of x along headdim, restarting at every head."""
    return Pow2Block(8, min(32, sizes.headdim))


def bc_block(sizes: Sizes, formats: Formats) -> Pow2Block:
    """Blocks of B and C along d_state, the same as those of the state."""
    return Pow2Block(8, ssm_step(sizes, formats).block)


def ssm_step(sizes: Sizes, formats: Formats) -> SsmStep:
    """Arithmetic of the state, with blocks along d_state."""
    return SsmStep(formats.state_bits, min(32, sizes.d_state), formats.state_rounding)


def padded_state(sizes: Sizes, formats: Formats) -> int:
    """d_state, zero-padded to whole blocks."""
    block = ssm_step(sizes, formats).block
    return -(-sizes.d_state // block) * block


def natural(tiled: NDArray[T]) -> NDArray[T]:
    """Copy of (batch, nheads, tiles, width, rows) as (batch, nheads, headdim, width)."""
    batch, nheads, tiles, width, rows = tiled.shape
    return tiled.swapaxes(-1, -2).reshape(batch, nheads, tiles * rows, width)


def put_natural(tiled: NDArray[Any], value: NDArray[Any]) -> None:
    """Write (batch, nheads, headdim, width) values into an array of tiles."""
    view = tiled.swapaxes(-1, -2)
    view[...] = value.reshape(view.shape)
