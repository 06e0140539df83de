"""Weights of the chosen experts: their shares of a sum."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value

from lightmamba.blocks.experts.hardware import MOST_CHOSEN
from lightmamba.hardware.rtl.interpolation import EXP2, exp2, reciprocal, reciprocal_latency
from lightmamba.hardware.rtl.pipe import Pipe
from lightmamba.hardware.rtl.shifts import shift_cut, shift_latency
from lightmamba.numerics.routing import ONE, WEIGHT_BITS, Routing

__all__ = ["Shares"]

VALUE = 24  # bits of a power of two; a sigmoid has 16
TOTAL = VALUE + (MOST_CHOSEN - 1).bit_length()
MOST_SHIFT = TOTAL  # right shift of a product to a weight
RANK = 32  # bits in which ranks differ


class Shares(Elaboratable):
    """Weigh the chosen experts, one per cycle, of which the best comes first.

    A weight comes ``latency`` cycles after its expert, however many there are: values wait until
    the sum of :data:`MOST_CHOSEN` would be there.

    Source: ``numerics.routing.Routing.weights``.

    Parameters
    ----------
    op : Routing
        Tables.

    Attributes
    ----------
    start : Signal
        Nothing is on its way, and new experts will come.
    sigmoid, normed : Signal
        Stable meanwhile: weights are sigmoids; those are divided by their sum.
    enters, ends, rank : Signal
        An expert, whether it is the last one, and its score, to which a constant is added.
    sigma : Signal
        Its sigmoid, one cycle later.
    leaves, last, weight : Signal
        A weight, u16, whether it is the last one.
    """

    latency = (
        2
        + EXP2
        + 1
        + MOST_CHOSEN
        + reciprocal_latency(TOTAL)
        + 1
        + shift_latency(0, MOST_SHIFT)
        + 2
    )

    def __init__(self, op: Routing) -> None:
        self.op = op
        self.start, self.sigmoid, self.normed = Signal(), Signal(), Signal()
        self.enters, self.ends, self.rank = Signal(), Signal(), Signal(RANK)
        self.sigma = Signal(16)
        self.leaves, self.last, self.weight = Signal(), Signal(), Signal(WEIGHT_BITS + 1)

    def elaborate(self, platform: object) -> Module:
        m, op = Module(), self.op
        pipe = Pipe(m)
        best = Signal(RANK, reset_less=True)
        with m.If(self.enters & ~pipe.valid(self.enters, 1)):
            m.d.sync += best.eq(self.rank)
        rank = pipe.step(lambda r: r, pipe.input(self.rank))
        below = pipe.step(lambda b, r: (b - r)[:RANK], pipe.input(best, rank.stage), rank)
        power = exp2(pipe, below, op.exp2)
        sigma = pipe.delay(pipe.input(self.sigma, 1), power.stage - 1)
        of_sigmoids = pipe.input(self.sigmoid, power.stage)
        value = pipe.step(_value, of_sigmoids, pipe.settle(sigma), power, shape=VALUE)

        total, adds = Signal(TOTAL), pipe.valid(self.enters, value.stage)
        with m.If(self.start):
            m.d.sync += total.eq(0)
        with m.Elif(adds):
            m.d.sync += total.eq(total + value.value)
        whole = pipe.input(total, value.stage + MOST_CHOSEN)
        mantissa, zeros = reciprocal(pipe, whole, op.reciprocal.nodes)

        late = pipe.settle(pipe.delay(value, mantissa.stage - 1))
        product = pipe.step(lambda v, f: Cat(v * f, 0).as_signed(), late, mantissa)
        # A sum of 0 leaves more zeros than it has bits; but so are all products.
        by = pipe.step(lambda z: (TOTAL - z)[: MOST_SHIFT.bit_length()].as_unsigned(), zeros)
        twice = shift_cut(pipe, product, by, WEIGHT_BITS + 3, high=MOST_SHIFT)
        share = pipe.step(lambda v: ((v + 1) >> 1)[: WEIGHT_BITS + 1], twice)
        plain = pipe.input(self.sigmoid & ~self.normed, share.stage)
        weight = pipe.step(_weight, plain, late, share, shape=WEIGHT_BITS + 1)
        ends = pipe.delay(pipe.input(self.ends), weight.stage)
        m.d.comb += [
            self.leaves.eq(pipe.valid(adds, weight.stage - value.stage)),
            self.weight.eq(weight.value),
            self.last.eq(ends.value),
        ]
        return m


def _value(of_sigmoids: Value, sigma: Value, power: Value) -> Value:
    """Sigmoid, or the power of two, at most 1 - 2^-24."""
    return Mux(of_sigmoids, sigma, Mux(power[VALUE], (1 << VALUE) - 1, power[:VALUE]))


def _weight(plain: Value, sigma: Value, share: Value) -> Value:
    """Sigmoid itself, or its share of the sum, at most :data:`ONE`."""
    return Mux(plain, sigma[1:], Mux(share[WEIGHT_BITS], ONE, share))
