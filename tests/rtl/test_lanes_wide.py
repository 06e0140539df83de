"""Lanes of 4 bits whose projections have other widths: weights in two beats, acts in two halves."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.numerics.formats import NIBBLES
from lightmamba.numerics.linear import Projection
from tests.rtl.test_lanes import Bench, job, run, small, work

EVERY = ((4, 4), (8, 4), (4, 8), (8, 8))  # bits of weights and of activations


def wide(**others: Any) -> ArchConfig:
    """Lanes of 4 bits whose projections may be of any widths."""
    return small((4, 4, 4), **{"wide_weight_bits": 8, "wide_act_bits": 8} | others)


@pytest.mark.parametrize(
    ("tokens", "port_bits", "multiplier_bits", "packed", "stalls"),
    [(1, 128, 4, False, 0.2), (1, 512, 8, False, 0.2), (2, 128, 4, True, 0.0),
     pytest.param(4, 256, 4, True, 0.3, marks=pytest.mark.slow)],
)  # fmt: skip
def test_widths_of_their_own(tokens, port_bits, multiplier_bits, packed, stalls):
    """Jobs of every pair of widths, one behind another, of each input; the largest sums."""
    channels = max(256, port_bits // 2)
    config = wide(
        tokens=tokens, port_bits=port_bits, packed=packed, multiplier_bits=multiplier_bits,
        in_channels=channels, out_channels=2 * channels, head_qmax=NIBBLES,
    )  # fmt: skip
    rng = np.random.default_rng(port_bits)
    long = config.lanes * (config.scale_period // config.in_words) + 2
    works = [
        *(work(config, rng, long if each == (8, 8) else 3, wide=each) for each in EVERY),
        *(work(config, rng, 3, wide=each, gated=True, parts=2) for each in EVERY),
        work(config, rng, 3, head=True),
        work(config, rng, 2, wide=(8, 8), gated=True, extreme=True),
    ]
    widest = max(abs(s) for w in works for sums in w.sums for s in sums[0])
    assert widest.bit_length() in (config.acc_bits - 1, config.acc_bits - 2)
    run(Bench(config), works, stalls=stalls, seed=tokens)


def test_worked_values_of_wide_weights():
    """-128 and 119 against -3: 128·w·-3·4·32; against 100 as 16·6 + 4."""
    config = wide(lanes=1, in_channels=128)
    form = Projection(config.projection.act, 8), Projection(config.head.act, 8)
    weight = np.array([[-128], [119]]).repeat(128, 1)
    rest = np.zeros((1, 4)), weight, np.zeros((2, 1))
    works = [
        job(config, f, np.full((1, 128), q), *rest, gated=False, parts=1)
        for f, q in zip(form, (-3, 100), strict=True)
    ]
    unit = 128 * 4 * 32
    sums = [[[-128 * -3 * unit]], [[119 * -3 * unit]], [[-12800 * unit]], [[11900 * unit]]]
    assert run(Bench(config), works).out["lanes.o"] == sums


@pytest.mark.parametrize("widths", EVERY[1:])
def test_latency_and_throughput_of_wide_weights(widths):
    """A beat in every cycle, or in every other one; each word of weights is two of them."""
    config = wide(lanes=1)
    each, twice = 1 + (widths[0] > 4), 1 + (widths[1] > 4)
    words, dut = config.in_words, Bench(config)
    rows = config.scale_period // words + 2
    got = run(dut, [work(config, np.random.default_rng(0), rows, wide=widths)])
    beats, sums = got.cycles["lanes.i_beat[0]"], np.array(got.cycles["lanes.o"])
    assert sums[-1] - beats[-1] == dut.lanes.latency + twice - 1
    steps = [words * each * twice] * (rows - 1)
    steps[config.scale_period // words - 1] += 1  # the second scale beat
    assert np.diff(sums).tolist() == steps


def test_a_slow_consumer_holds_up_wide_weights():
    """The last word of a row waits between its beats and halves; nothing of it is lost."""
    config = wide(lanes=1, in_channels=128)
    works = [work(config, np.random.default_rng(n), 20, wide=EVERY[n]) for n in range(4)]
    got = run(Bench(config), works, slow={"lanes.o": 0.96})
    assert got.counts["lanes.wait_epilogue"] > 100
