"""The running sum of squares, at its full width."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, wiring

from lightmamba.hardware.rtl.layouts import i_stream, o_stream
from lightmamba.hardware.rtl.pipe import Pipe, Queue
from lightmamba.hardware.rtl.squares import LATENCY, SUM_BITS, sum_of_squares
from tests.support.streams import drive

BITS = 30  # wider than any user, so that few beats reach the highest bit


class Squares(wiring.Component):
    """Sums of the squares of ``run`` beats of ``width`` values each, the running ones too."""

    def __init__(self, run, width):
        self.run = run
        beat = data.ArrayLayout(signed(BITS), width)
        super().__init__({"i": i_stream(beat), "o": o_stream(unsigned(SUM_BITS))})

    def elaborate(self, platform):
        m = Module()
        pipe, issue, count = Pipe(m), Signal(), Signal(8)
        values = [pipe.input(value) for value in self.i.payload]
        total = sum_of_squares(pipe, values, issue, count == 0)
        queue = Queue(m, self.o, latency=total.stage)
        queue.connect(issue, pipe.valid(issue, total.stage), total.value)
        m.d.comb += [self.i.ready.eq(queue.room), issue.eq(self.i.valid & queue.room)]
        with m.If(issue):
            m.d.sync += count.eq(count + 1)
            with m.If(count == self.run - 1):
                m.d.sync += count.eq(0)
        return m


@pytest.mark.parametrize("width", [1, 2])
def test_equals_arithmetic(width):
    rng = np.random.default_rng(0)
    top = 1 << (BITS - 1)
    x = rng.integers(-top, top, (12, 4))
    x[:3] = np.array([[-top], [top - 1], [1]])
    for stalls in (0.0, 0.4):
        beats = x.reshape(-1, width)
        got = drive(
            Squares(4 // width, width), {"i": beats.tolist()}, {"o": len(beats)}, stalls=stalls
        )
        sums = np.cumsum(x**2, axis=1)[:, width - 1 :: width]
        np.testing.assert_array_equal(got.out["o"], sums.ravel())
    assert max(got.out["o"]) == 1 << (SUM_BITS - 1)


@pytest.mark.parametrize("width", [1, 2])
def test_one_beat_per_sum(width):
    """Every beat begins a new sum. One cycle adds two squares; the queue takes two."""
    x = np.array([3, -(1 << 24), 0, 1 << 16, (1 << 16) - 1, 5] * 3).reshape(-1, width)
    got = drive(Squares(1, width), {"i": x.tolist()}, {"o": len(x)})
    assert got.out["o"] == (x**2).sum(axis=1).tolist()
    late = LATENCY + (width - 1) + 2
    np.testing.assert_array_equal(np.subtract(got.cycles["o"], got.cycles["i"]), late)
