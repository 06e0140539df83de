"""The primitives of shifting, against ``numerics.primitives``."""

import numpy as np
import pytest
from amaranth.hdl import Signal, signed, unsigned
from numpy.testing import assert_array_equal

from lightmamba.hardware.rtl import shifts
from lightmamba.numerics import primitives
from lightmamba.numerics.formats import INT8, INT16, IntFormat
from tests.support.pipelines import Piped
from tests.support.streams import drive


def ends(bits):
    """Values of a signed width that are most likely to go wrong."""
    top = 1 << (bits - 1)
    return [-top, -top + 1, -3, -2, -1, 0, 1, 2, 3, top // 2, top - 2, top - 1]


def through(dut, beats, *, stalls=0.0):
    """Outputs by name, of beats that are dictionaries."""
    run = drive(dut, {"i": beats}, {"o": len(beats)}, stalls=stalls, settle=8)
    return {name: np.array([o[name] for o in run.out["o"]]) for name in run.out["o"][0]}


@pytest.mark.parametrize(
    ("bits", "low", "high", "shape"),
    [
        (8, 0, 7, unsigned(3)),
        (25, 0, 31, unsigned(5)),
        (16, -31, 62, signed(7)),
        (14, -47, 62, signed(9)),
        (32, -20, 62, signed(8)),
        (24, 0, 1, unsigned(1)),
        (61, 0, 62, unsigned(6)),
    ],
)
def test_round_shift(bits, low, high, shape):
    rng = np.random.default_rng(bits)
    edges = [v for v in ends(bits) for _ in range(8)]
    x = np.array(edges + [int(v) >> int(k) for v, k in zip(
        rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), 160), rng.integers(0, bits, 160),
        strict=True,
    )])  # fmt: skip
    by = rng.integers(low, high, len(x), endpoint=True)
    by[::8], by[1::8], by[2::8] = low, high, np.clip(bits - 1, low, high)
    dut = Piped(
        {"x": signed(bits), "by": shape},
        lambda pipe, x, by: {"y": shifts.round_shift(pipe, x, by, low=low, high=high)},
    )
    beats = [{"x": int(a), "by": int(b)} for a, b in zip(x, by, strict=True)]
    assert_array_equal(through(dut, beats)["y"], primitives.round_shift(x, by))
    assert dut.stage == shifts.shift_latency(low, high)
    assert len(dut.results[0]) == bits - low


@pytest.mark.parametrize(("bits", "term_bits"), [(59, 46), (43, 30), (24, 24), (8, 3)])
def test_shift_add(bits, term_bits):
    """A rounded shift and an addition at once; what does not fit the width wraps around."""
    rng = np.random.default_rng(bits)
    top, most = 1 << (bits - 1), 1 << (term_bits - 1)
    x = np.array(ends(bits) + rng.integers(-top, top, 200).tolist())
    term = np.resize(np.array(ends(term_bits) + rng.integers(-most, most, 77).tolist()), len(x))
    by = rng.integers(0, 62, len(x), endpoint=True)
    by[::4], by[1::4] = 0, 1
    dut = Piped(
        {"x": signed(bits), "by": unsigned(6), "term": signed(term_bits)},
        lambda pipe, x, by, term: {"y": shifts.shift_add(pipe, x, by, term, high=62)},
    )
    beats = [{"x": int(a), "by": int(b), "term": int(c)}
             for a, b, c in zip(x, by, term, strict=True)]  # fmt: skip
    wanted = primitives.round_shift(x, by) + term
    assert_array_equal(through(dut, beats)["y"], (wanted + top) % (2 * top) - top)
    assert dut.stage == shifts.shift_latency(0, 62) + 1


@pytest.mark.parametrize(
    "form", [INT8, IntFormat(8, symmetric=True), INT16, IntFormat(32), IntFormat(40)]
)
@pytest.mark.parametrize(
    ("bits", "low", "high", "shape"),
    [
        (8, 0, 7, unsigned(3)),
        (16, -31, 62, signed(7)),
        (40, -20, 62, signed(8)),
        (13, -3, 4, signed(4)),
    ],
)
def test_round_saturate(form, bits, low, high, shape):
    """At random, and just beside every value at which saturation begins."""
    rng = np.random.default_rng(bits)
    near = [
        (end << by) + (half << by >> 1) + d
        for end in (form.min, form.max) for by in range(max(bits - form.bits, 0) + 1)
        for half in (-1, 0, 1) for d in (-1, 0, 1)
    ]  # fmt: skip
    x = np.array([v for v in [*ends(bits), *near] if -1 << (bits - 1) <= v < 1 << (bits - 1)])
    x = np.repeat(np.unique(x), 6)
    by = rng.integers(low, high, len(x), endpoint=True)
    by[::6], by[1::6], by[2::6], by[3::6] = 0, low, 1, np.clip(bits - form.bits, low, high)

    def build(pipe, x, by):
        value, lost = shifts.round_saturate(pipe, x, by, form, low=low, high=high)
        return {"value": value, "lost": lost}

    dut = Piped({"x": signed(bits), "by": shape}, build)
    got = through(dut, [{"x": int(a), "by": int(b)} for a, b in zip(x, by, strict=True)])
    whole = [primitives.round_shift(np.array([a]), int(b))[0] for a, b in zip(x, by, strict=True)]
    assert_array_equal(got["value"], form(np.array(whole)))
    assert_array_equal(got["lost"], [form.overflows(np.array([v])) for v in whole])
    assert dut.stage == shifts.round_latency(low, high)
    assert len(dut.results[0]) == form.bits


@pytest.mark.parametrize("factor", [unsigned(6), unsigned(17), signed(17), signed(24)])
def test_split_product(factor):
    rng = np.random.default_rng(5)
    top = 1 << (factor.width - factor.signed)
    x = np.repeat([*ends(32), *rng.integers(-(1 << 31), 1 << 31, 20)], 4)
    f = rng.integers(-top if factor.signed else 0, top, len(x))
    f[::4], f[1::4] = top - 1, -top if factor.signed else 0
    dut = Piped(
        {"x": signed(32), "f": factor},
        lambda pipe, x, f: {"y": shifts.split_product(pipe, x, f)},
    )
    got = through(dut, [{"x": int(a), "f": int(b)} for a, b in zip(x, f, strict=True)])
    assert_array_equal(got["y"], [int(a) * int(b) for a, b in zip(x, f, strict=True)])
    assert dut.stage == 2


def test_round_shift_worked_values():
    """Ties go up, on both sides of zero."""
    dut = Piped(
        {"x": signed(8), "by": signed(4)},
        lambda pipe, x, by: {"y": shifts.round_shift(pipe, x, by, low=-2, high=7)},
    )
    cases = {
        (3, 1): 2, (-3, 1): -1, (-2, 1): -1, (1, 1): 1, (-1, 1): 0, (5, 2): 1, (6, 2): 2,
        (-6, 2): -1, (-7, 2): -2, (127, 7): 1, (-64, 7): 0, (-65, 7): -1, (127, -2): 508,
        (-128, -2): -512, (5, -1): 10, (9, 0): 9,
    }  # fmt: skip
    beats = [{"x": x, "by": by} for x, by in cases]
    assert_array_equal(through(dut, beats)["y"], list(cases.values()))


@pytest.mark.parametrize("form", [INT8, IntFormat(8, symmetric=True), INT16])
def test_saturate(form):
    def build(pipe, x):
        value, lost = shifts.saturate(pipe, x, form)
        over = pipe.comb(lambda v: shifts.is_overflow(v, form), x)
        return {"value": value, "lost": lost, "over": over}

    x = np.array([*ends(20), form.min - 1, form.min, form.max, form.max + 1, 500, -500])
    dut = Piped({"x": signed(20)}, build)
    got = through(dut, [{"x": int(v)} for v in x])
    assert_array_equal(got["value"], form(x))
    over = [form.overflows(np.array([v])) for v in x]
    assert_array_equal(got["lost"], over)
    assert_array_equal(got["over"], over)
    assert dut.stage == 1
    assert len(dut.results[0]) == form.bits


@pytest.mark.parametrize(
    ("count", "levels", "stage"),
    [(1, 2, 0), (2, 2, 1), (3, 2, 1), (5, 2, 2), (7, 1, 3), (16, 2, 2)],
)
def test_add_tree(count, levels, stage):
    rng = np.random.default_rng(count)
    x = rng.integers(-8, 8, (40, count))
    x[0], x[1] = -8, 7
    names = [f"x{n}" for n in range(count)]
    dut = Piped(
        dict.fromkeys(names, signed(4)),
        lambda pipe, **terms: {"y": shifts.add_tree(pipe, list(terms.values()), levels)},
    )
    beats = [dict(zip(names, map(int, row), strict=True)) for row in x]
    assert_array_equal(through(dut, beats)["y"], x.sum(1))
    assert dut.stage == stage


@pytest.mark.parametrize("shape", [signed(14), unsigned(14)])
@pytest.mark.parametrize("stalls", [0.0, 0.4])
def test_accumulate(shape, stalls):
    """Runs of one to five terms; in gaps, whatever is there does not count."""
    rng = np.random.default_rng(9)
    top = 1 << (14 - shape.signed)
    x = rng.integers(-top if shape.signed else 0, top, 120)
    x[5:12], x[20:30] = top - 1, -top if shape.signed else 0
    first = (np.arange(120) % 15 == np.array([0, 1, 3, 6, 10])[:, None]).any(0)

    def build(pipe, x, first, on):
        x, first, on = (pipe.delay(t, 2) for t in (x, first, on))
        counts = pipe.valid(dut_issue, 2) & on.value
        total = shifts.accumulate(pipe, x, counts, first.value, bits=17, low=6)
        return {"y": total}

    dut_issue = Signal()
    dut = Piped({"x": shape, "first": 1, "on": 1}, build)
    dut.m.d.comb += dut_issue.eq(dut.i.valid & dut.i.ready)
    on = rng.integers(0, 4, 120) > 0
    on |= first
    beats = [
        {"x": int(a), "first": int(f), "on": int(o)} for a, f, o in zip(x, first, on, strict=True)
    ]
    expected, total = [], 0
    for a, f, o in zip(x.tolist(), first, on, strict=True):
        total = (a if f else total + a) if o else total
        expected.append(total)
    assert_array_equal(through(dut, beats, stalls=stalls)["y"], expected)
    assert dut.stage == 4
    assert min(expected) < 0 or not shape.signed


@pytest.mark.parametrize("bits", [1, 2, 3, 8, 13, 61])
def test_bit_length(bits):
    x = [0, *(v for k in range(bits) for v in {1 << k, (2 << k) - 1})]
    dut = Piped(
        {"x": unsigned(bits)},
        lambda pipe, x: {"y": pipe.step(shifts.bit_length, x)},
    )
    got = through(dut, [{"x": v} for v in x])
    assert_array_equal(got["y"], [v.bit_length() for v in x])


def test_magnitude():
    dut = Piped({"x": signed(8)}, lambda pipe, x: {"y": pipe.comb(shifts.magnitude, x)})
    got = through(dut, [{"x": v} for v in range(-128, 128)])
    assert_array_equal(got["y"], np.abs(np.arange(-128, 128)))
