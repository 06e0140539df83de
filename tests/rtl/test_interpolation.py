"""Tables with interpolation, against ``numerics.tables``."""

import numpy as np
import pytest
from amaranth.hdl import Cat, signed, unsigned
from numpy.testing import assert_array_equal

from lightmamba.hardware.rtl import interpolation
from lightmamba.hardware.rtl.interpolation import (
    LATENCY,
    exp2,
    interpolate,
    lookup,
    reciprocal,
    reciprocal_latency,
    sigmoid,
)
from lightmamba.numerics import tables as numerics
from tests.support.pipelines import Piped
from tests.support.streams import drive

SIGMOID, SOFTPLUS, EXP2, RSQRT = numerics.tables()


def through(dut, name, values, *, stalls=0.0):
    """Outputs by name, of values of the only input."""
    beats = [{name: int(v)} for v in values]
    run = drive(dut, {"i": beats}, {"o": len(beats)}, stalls=stalls, settle=8)
    return {key: np.array([o[key] for o in run.out["o"]]) for key in run.out["o"][0]}


def offsets(nodes, seed, count=300):
    """Both ends of random segments, of the first and of the last, and anything between."""
    rng, last = np.random.default_rng(seed), len(nodes.base) - 1
    segment = np.concatenate([[0, last], rng.integers(0, last, count, endpoint=True)])
    fraction = rng.integers(0, 1 << nodes.bits, segment.size)
    fraction[::3], fraction[1::3] = 0, (1 << nodes.bits) - 1
    edges = [0, (1 << nodes.bits) - 1, (last << nodes.bits), ((last + 1) << nodes.bits) - 1]
    return np.concatenate([edges, segment << nodes.bits | fraction])


@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_sigmoid(stalls):
    x = offsets(SIGMOID.nodes, 1) - 32768
    x = np.concatenate([x, [-32768, -1, 0, 1, 32767]])
    dut = Piped({"x": signed(16)}, lambda pipe, x: {"y": sigmoid(pipe, x, SIGMOID.nodes)})
    assert_array_equal(through(dut, "x", x, stalls=stalls)["y"], SIGMOID(x))
    assert dut.stage == LATENCY
    assert len(dut.results[0]) == 16


def test_sigmoid_worked_values():
    """σ(0) = 1/2, σ(ln 3) = 3/4, σ(-ln 3) = 1/4, and the ends, in units of 2^-16."""
    dut = Piped({"x": signed(16)}, lambda pipe, x: {"y": sigmoid(pipe, x, SIGMOID.nodes)})
    got = through(dut, "x", [0, 2250, -2250, 32767, -32768])["y"]
    assert_array_equal(got[[0, 3, 4]], [32768, 65535, 0])
    assert np.abs(got[1:3] - [49152, 16384]).max() <= 3


def test_softplus_and_its_shift():
    x = offsets(SOFTPLUS.nodes, 2) - 32768

    def build(pipe, x):
        offset = pipe.comb(lambda v: Cat(v[:15], ~v[15]), x)
        value, shift = interpolate(pipe, SOFTPLUS.nodes, offset, SOFTPLUS.shifts.tolist())
        assert value.stage == shift.stage == LATENCY
        return {"mantissa": value, "shift": shift}

    got = through(Piped({"x": signed(16)}, build), "x", x)
    mantissa, shift = SOFTPLUS(x)
    assert_array_equal(got["mantissa"], mantissa)
    assert_array_equal(got["shift"], shift)


def test_falling_tables():
    """Of negative slope: the fraction of exp2, and the reciprocal root."""
    for op, bits, offset in (
        (EXP2, 24, offsets(EXP2.nodes, 3)),
        (RSQRT, 16, offsets(RSQRT.nodes, 4)),
    ):
        dut = Piped(
            {"x": unsigned(bits)},
            lambda pipe, x, nodes=op.nodes: {"y": interpolate(pipe, nodes, x)},
        )
        nodes = op.nodes
        segment, fraction = offset >> nodes.bits, offset & ((1 << nodes.bits) - 1)
        wanted = numerics.interpolate(
            nodes.base[segment], nodes.delta[segment], fraction, nodes.bits
        )
        assert_array_equal(through(dut, "x", offset)["y"], wanted)


def test_exp2_worked_values():
    """2^0 = 1 and 2^-1/2, with 24 fractional bits."""
    dut = Piped({"x": unsigned(24)}, lambda pipe, x: {"y": interpolate(pipe, EXP2.nodes, x)})
    got = through(dut, "x", [0, 1 << 23])["y"]
    assert_array_equal(got, [1 << 24, round(2**23.5)])


@pytest.mark.parametrize("bits", [32, 34])
def test_exp2(bits):
    """Also where it is 1, half of it, nothing, and all but that."""
    rng = np.random.default_rng(bits)
    t = rng.integers(0, 1 << bits, 200) >> rng.integers(0, bits, 200)
    t = np.concatenate([t, [0, 1 << 16, 24 << 16, 32 << 16, (1 << bits) - 1]])
    dut = Piped({"x": unsigned(bits)}, lambda pipe, x: {"y": exp2(pipe, x, EXP2)})
    got = through(dut, "x", t)["y"]
    assert_array_equal(np.minimum(got, EXP2.one), EXP2(np.minimum(t << 8, EXP2.top)))
    assert_array_equal(got[-5:], [1 << 24, 1 << 23, 1, 0, 0])
    assert dut.stage == interpolation.EXP2


@pytest.mark.parametrize("bits", [16, 28, 42])
def test_reciprocal(bits):
    rng, op = np.random.default_rng(bits), numerics.Reciprocal()
    s = rng.integers(1, 1 << bits, 200) >> rng.integers(0, bits, 200)
    s = np.concatenate([np.maximum(s, 1), [1, 2, 1 << bits - 1, (1 << bits) - 1]])

    def build(pipe, x):
        mantissa, zeros = reciprocal(pipe, x, op.nodes)
        return {"mantissa": mantissa, "zeros": zeros}

    dut = Piped({"x": unsigned(bits)}, build)
    got, (mantissa, j) = through(dut, "x", s), op(s)
    assert_array_equal(got["mantissa"], mantissa)
    assert_array_equal(bits - 16 - got["zeros"], j)
    assert dut.stage == reciprocal_latency(bits)


def test_lookup():
    words = [7, 0, 255, 128, 3]
    dut = Piped({"x": unsigned(3)}, lambda pipe, x: {"y": lookup(pipe, x, words, 8)})
    assert_array_equal(through(dut, "x", range(5))["y"], words)
    assert dut.stage == 1
