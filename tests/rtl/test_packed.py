"""Packed multipliers: each of the four products, sums of eight, and the blocks of two lanes."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, wiring
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK
from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.packed import (
    FIELD,
    LANES,
    PACKED_BITS,
    TOKENS,
    LanePair,
    field,
    multiplied,
    pack,
)
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from tests.support.streams import Run, drive

SIDE = 32  # multipliers that are tested at a time
EXTREMES = (-8, -1, 0, 1, 7)


class Multipliers(wiring.Component):
    """Multipliers side by side, each with the weights of two lanes and two tokens."""

    def __init__(self) -> None:
        factors = data.ArrayLayout(signed(4), LANES + TOKENS)
        fields = data.ArrayLayout(signed(FIELD), LANES * TOKENS)
        super().__init__(
            {
                "i": i_stream(data.ArrayLayout(factors, SIDE)),
                "o": o_stream(data.ArrayLayout(fields, SIDE)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe, queue, issue = Pipe(m), Queue(m, self.o, latency=2), Signal()
        m.d.comb += [self.i.ready.eq(queue.room), issue.eq(self.i.valid & queue.room)]
        out = Signal(self.o.payload.shape())
        for n in range(SIDE):
            f = [Value.cast(self.i.payload[n][k]) for k in range(LANES + TOKENS)]
            weights, tokens = (
                pipe.step(lambda low, high: pack(low, high), *map(pipe.input, f[k : k + 2]))
                for k in (0, 2)
            )
            word = multiplied(pipe, weights, tokens)
            assert word.stage == 2
            whole = Signal(signed(LANES * TOKENS * FIELD))
            m.d.comb += whole.eq(word.value)
            m.d.comb += [out[n][k].eq(field(whole, k)) for k in range(LANES * TOKENS)]
        queue.connect(issue, pipe.valid(issue, 2), out)
        return m


def test_every_product():
    """All 65,536 values of two weights and two activations, each in its own field."""
    factors = np.array(list(product(range(-8, 8), repeat=4))).reshape(-1, SIDE, 4)
    w, a = factors[..., :2], factors[..., 2:]
    expected = (a[..., :, None] * w[..., None, :]).reshape(-1, SIDE, 4)  # token by token
    got = drive(Multipliers(), {"i": factors.tolist()}, {"o": len(factors)})
    assert_array_equal(got.out["o"], expected)


class Bench(wiring.Component):
    """A pair of lanes whose activations are packed as the lanes do it."""

    def __init__(self, config: ArchConfig) -> None:
        self.config, self.pair = config, LanePair(config)
        word = data.ArrayLayout(data.ArrayLayout(signed(4), config.products), config.tokens)
        beats = data.ArrayLayout(config.port_bits, LANES)
        dots = data.ArrayLayout(self.pair.dots[0].shape(), LANES)
        super().__init__(
            {"i": i_stream(data.StructLayout({"beat": beats, "q": word})), "o": o_stream(dots)}
        )

    def elaborate(self, platform: object) -> Module:
        m, pair, given = Module(), self.pair, self.i.payload
        m.submodules.pair = pair
        queue, issue, dots = Queue(m, self.o, latency=pair.latency), Signal(), Signal.like(self.o.p)
        m.d.comb += [self.i.ready.eq(queue.room), issue.eq(self.i.valid & queue.room)]
        for lane in range(LANES):
            m.d.comb += [pair.beat[lane].eq(given.beat[lane]), dots[lane].eq(pair.dots[lane])]
        for n, q in enumerate(pair.q):
            for column, packed in enumerate(q):
                two = (Value.cast(given.q[TOKENS * n + k][column]) for k in range(TOKENS))
                m.d.comb += packed.eq(pack(*two))
        queue.connect(issue, Pipe(m).valid(issue, pair.latency), dots)
        return m


def config_of(tokens: int, port_bits: int = 128) -> ArchConfig:
    return ArchConfig(lanes=LANES, tokens=tokens, port_bits=port_bits, packed=True)


def run(config: ArchConfig, weights: NDArray[Any], q: NDArray[Any], **options: Any) -> Run:
    """Multiply (beats, lanes, products) with (beats, tokens, products) and check all sums."""
    beats = [
        [sum((int(w) & 15) << 4 * n for n, w in enumerate(lane)) for lane in beat]
        for beat in weights
    ]
    given = [{"beat": b, "q": v.tolist()} for b, v in zip(beats, q, strict=True)]
    products = weights[:, :, None, :].astype(int) * q[:, None, :, :]
    expected = products.reshape(*products.shape[:3], -1, BLOCK).sum(-1)
    got = drive(Bench(config), {"i": given}, {"o": len(given)}, **options)
    assert_array_equal(got.out["o"], expected)
    return got


@pytest.mark.parametrize(("tokens", "port_bits"), [(2, 128), (4, 256), (8, 128)])
def test_equals_sums_of_products(tokens, port_bits):
    """Blocks of random values, and of random extremes."""
    config = config_of(tokens, port_bits)
    rng = np.random.default_rng(tokens)
    shapes = [(40, n, config.products) for n in (LANES, tokens)]
    w, q = (
        np.concatenate([rng.integers(-8, 8, s), rng.choice([-8, 7], s), rng.choice(EXTREMES, s)])
        for s in shapes
    )
    run(config, w, q, stalls=0.2, seed=tokens)


def test_extremes_in_every_field():
    """One value of each lane and token in all columns: the largest sums of all signs.

    Also all signs beside all others, and zeros above a negative field, through which it borrows.
    """
    config = config_of(2)
    each = np.array(list(product(EXTREMES, repeat=4)))[:, :, None].repeat(config.products, 2)
    run(config, each[:, :2], each[:, 2:])


def test_a_single_column():
    """-1 in one column of a block: every bit above is borrowed, and given back."""
    config = config_of(2)
    w = np.zeros((config.products * 4, LANES, config.products), int)
    q = np.zeros_like(w)
    for n in range(len(w)):
        column, lane, token = n // 4, n % 2, n // 2 % 2
        w[n, lane, column], q[n, token, column] = -1, 1
    run(config, w, q)


def test_worked_values():
    """By hand: 32 products of 2·(-8), 2·7, -5·(-8) and -5·7."""
    config = config_of(2)
    w, q = (np.array(v)[None, :, None].repeat(32, 2) for v in ([-8, 7], [2, -5]))
    got = run(config, w, q)
    assert got.out["o"] == [[[[-512], [1280]], [[448], [-1120]]]]


def test_latency_and_throughput():
    """A beat per cycle; its sums ``latency`` cycles later, two more in the queue."""
    config = config_of(4)
    rng = np.random.default_rng(0)
    w, q = (rng.integers(-8, 8, (20, n, config.products)) for n in (LANES, 4))
    got = run(config, w, q)
    assert np.diff(got.cycles["i"]).tolist() == [LanePair.interval] * 19
    delay = np.array(got.cycles["o"]) - np.array(got.cycles["i"])
    assert set(delay.tolist()) == {LanePair.latency + 2}
    assert LanePair.latency == 7


def test_a_packed_factor_has_nine_bits():
    """-8 below -8 becomes -9 above: five bits, beside the four of the lower one."""
    assert PACKED_BITS == 9
    assert len(pack(Signal(4), Signal(4))) == PACKED_BITS
