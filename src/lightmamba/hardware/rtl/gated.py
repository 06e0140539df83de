"""SiLU, of the convolution, the gate and an MLP; and scaled products, of the latter two."""

from amaranth.hdl import Mux, Value, signed

from lightmamba.hardware.rtl.interpolation import LATENCY as INTERPOLATION
from lightmamba.hardware.rtl.interpolation import sigmoid
from lightmamba.hardware.rtl.pipe import Pipe, Timed
from lightmamba.hardware.rtl.shifts import round_latency, round_saturate
from lightmamba.numerics.conv import Silu
from lightmamba.numerics.formats import INT16, IntFormat

__all__ = [
    "PRODUCT_SHIFTS", "SCALED", "SILU", "SILU_SHIFTS", "Y_BITS", "Z_BITS", "limit", "scaled",
    "silu",
]  # fmt: skip

Y_BITS, Z_BITS = 24, 16
# Shifts that matter: one further left saturates like the first, one further right gives 0 as well.
SILU_SHIFTS = 1 - INT16.bits, Z_BITS
PRODUCT_SHIFTS = -20, Y_BITS + Z_BITS  # further left is refused by qmodel.check
SILU = round_latency(*SILU_SHIFTS) + INTERPOLATION + 2  # cycles of z·σ(z)
SCALED = 1 + round_latency(*PRODUCT_SHIFTS)  # of a product, shifted and saturated


def silu(
    pipe: Pipe, op: Silu, z: Timed, shift: Value, shifts: tuple[int, int] = SILU_SHIFTS
) -> Timed:
    """z·σ(z), of the width of z, in :data:`SILU` cycles for :data:`SILU_SHIFTS`.

    ``shift`` to the sigmoid's input, within ``shifts``, holds in the cycle of ``z``. Source:
    ``numerics.conv.Silu``.
    """
    low, high = shifts
    by = pipe.input(shift, z.stage)
    narrow, _ = round_saturate(pipe, z, by, op.table, low=low, high=high)
    sigma = sigmoid(pipe, narrow, op.sigmoid.nodes)
    product = pipe.step(lambda a, b: a * b, z, sigma)
    return pipe.step(lambda p: (p + (1 << 15)) >> 16, product, shape=signed(Z_BITS))


def scaled(pipe: Pipe, out: IntFormat, a: Timed, b: Timed, shift: Value) -> tuple[Timed, Timed]:
    """a·b shifted right and saturated, and whether it was, in :data:`SCALED` cycles."""
    low, high = PRODUCT_SHIFTS
    product = pipe.step(lambda x, y: x * y, a, b)
    by = pipe.input(shift, product.stage)
    return round_saturate(pipe, product, by, out, low=low, high=high)


def limit(value: Value, low: int, high: int) -> Value:
    """A shift within the range of those that matter."""
    return Mux(value < low, low, Mux(value > high, high, value))
