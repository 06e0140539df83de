"""Lanes of several tokens with their buffers: one read of the weights for all vectors."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from numpy.testing import assert_array_equal

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP
from lightmamba.rtl.activations import ActivationBuffer
from lightmamba.rtl.lanes import Lanes
from lightmamba.rtl.slices import Slices
from tests.support.beats import lane_beats
from tests.support.streams import Run, drive

from .test_lanes import STATES, Work, job, small


class Bench(wiring.Component):
    """Lanes and a buffer for each token, all streams within reach."""

    def __init__(self, config: ArchConfig) -> None:
        self.config = config
        self.buffer = Slices(lambda: ActivationBuffer(config), config.tokens)
        self.lanes = Lanes(config, self.buffer)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buffer, m.submodules.lanes = self.buffer, self.lanes
        return m


def work(
    config: ArchConfig,
    rng: np.random.Generator,
    rows: int,
    *,
    head: bool = False,
    gated: bool = False,
    parts: int = 1,
) -> Work:
    """A job of T vectors: those of one each, side by side."""
    form = config.head if head else config.projection
    channels = config.out_channels if gated else config.in_channels
    top = 1 << (config.weight_bits - 1)
    weight = rng.integers(-top, top, (rows, channels))
    weight_code = rng.integers(0, 256, (rows, channels // GROUP))
    each = [
        job(
            config, form, rng.integers(form.act.qmin, form.act.qmax + 1, channels),
            rng.integers(0, 64, channels // BLOCK), weight, weight_code,
            head=head, gated=gated, parts=parts,
        )
        for _ in range(config.tokens)
    ]  # fmt: skip
    vectors: Any = [list(elements) for elements in zip(*(w.vector for w in each), strict=True)]
    sums: Any = [list(some) for some in zip(*(w.sums for w in each), strict=True)]
    beats = lane_beats(config, weight.astype(np.int8), weight_code.astype(np.uint8))
    return Work(each[0].command, vectors, beats, sums)


def run(dut: Bench, works: list[Work], **options: Any) -> Run:
    """Do ``works`` one after another; check all sums, and what the cycles went to."""
    config = dut.config
    given: dict[str, list[Any]] = {
        "lanes.command": [w.command for w in works],
        "buffer.i_in": [v for w in works if not w.command["gated"] for v in w.vector],
        "buffer.i_out": [v for w in works if w.command["gated"] for v in w.vector],
    } | {
        f"lanes.i_beat[{lane}]": [b for w in works for b in w.beats[lane]]
        for lane in range(config.lanes)
    }
    expected = [s for w in works for s in w.sums]
    got = drive(
        dut, given, {"lanes.o": len(expected)}, counts=[*STATES, "lanes.busy"], settle=30, **options
    )
    assert_array_equal(got.out["lanes.o"], expected)
    words = [len(w.vector) // config.products * w.command["slots"] for w in works]
    twice = [1 + w.command["twice"] for w in works]
    assert got.counts["lanes.multiplying"] == sum(n * t for n, t in zip(words, twice, strict=True))
    return got


@pytest.mark.parametrize(
    ("tokens", "bits", "port_bits", "stalls", "packed"),
    [(2, (4, 4, 4), 128, 0.2, False), (4, (4, 4, 4), 128, 0.5, False),
     (4, (4, 8, 8), 256, 0.0, False), (2, (8, 8, 8), 128, 0.3, False),
     (2, (4, 4, 4), 256, 0.2, True), (4, (4, 4, 4), 128, 0.0, True),
     (8, (4, 4, 4), 128, 0.4, True)],
)  # fmt: skip
def test_equals_numerics(tokens, bits, port_bits, stalls, packed):
    """Jobs of all three kinds; with multipliers of 4 bits the head goes through them twice."""
    config = small(bits, port_bits=port_bits, out_channels=256, tokens=tokens, packed=packed)
    assert config.head_twice == (bits[1] == 4)
    rng = np.random.default_rng(tokens + port_bits)
    works = [
        work(config, rng, config.lanes * (config.scale_period // config.in_words) + 2),
        work(config, rng, 3, gated=True, parts=2),
        work(config, rng, 3, head=True),
        work(config, rng, 1),
    ]
    run(Bench(config), works, stalls=stalls, seed=tokens)


def test_a_slow_consumer_loses_nothing():
    """The sums of all tokens wait together."""
    config = small((4, 4, 4), lanes=1, in_channels=128, tokens=2)
    works = [work(config, np.random.default_rng(n), 20, head=True) for n in range(2)]
    got = run(Bench(config), works, slow={"lanes.o": 0.96})
    assert got.counts["lanes.wait_epilogue"] > 100


@pytest.mark.parametrize("packed", [False, True])
def test_worked_values(packed):
    """Ones, twos, ... against two rows, of ones and of -3: 128·v·4·32, and -3 times that."""
    config = small((4, 4, 4), lanes=2, in_channels=128, tokens=4, packed=packed)
    weight = np.array([[1], [-3]]).repeat(128, 1)
    each = [
        job(
            config, config.projection, np.full(128, v), np.zeros(4), weight, np.zeros((2, 1)),
            head=False, gated=False, parts=1,
        )
        for v in range(1, 5)
    ]  # fmt: skip
    vectors: Any = [list(elements) for elements in zip(*(w.vector for w in each), strict=True)]
    sums: Any = [[[16384 * v, -49152 * v] for v in range(1, 5)]]
    run(Bench(config), [Work(each[0].command, vectors, each[0].beats, sums)])


@pytest.mark.parametrize(
    ("tokens", "head", "packed"),
    [(2, True, False), (4, False, False), (4, True, False), (4, False, True), (4, True, True)],
)
def test_latency_and_throughput(tokens, head, packed):
    """A beat of weights in every cycle, or every other one, however many tokens meet it."""
    config = small((4, 4, 4), lanes=1 + packed, tokens=tokens, packed=packed)
    words, each, dut = config.in_words, 1 + head, Bench(config)
    rows = config.scale_period // words + 2
    got = run(dut, [work(config, np.random.default_rng(0), config.lanes * rows, head=head)])
    beats, sums = got.cycles["lanes.i_beat[0]"], np.array(got.cycles["lanes.o"])
    assert sums[-1] - beats[-1] == dut.lanes.latency + head
    # The first row waits for the vectors to be written; after it the lanes never wait.
    steps = [words * each * dut.lanes.interval] * (rows - 1)
    steps[config.scale_period // words - 1] += 1  # the second scale beat
    assert np.diff(sums).tolist() == steps
