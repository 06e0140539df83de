"""Lanes with their activation buffers: sums of whole projections, timing, what a cycle goes to."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import BLOCK, GROUP
from lightmamba.hardware.machine.spine import rows_per_cycle
from lightmamba.hardware.rtl.activations import ActivationBuffer
from lightmamba.hardware.rtl.lanes import Lanes
from lightmamba.hardware.rtl.slices import Slices
from lightmamba.numerics.formats import NIBBLES
from lightmamba.numerics.linear import Projection
from tests.support.beats import lane_beats
from tests.support.streams import Run, drive

STATES = tuple(
    f"lanes.{name}"
    for name in ("multiplying", "scale", "wait_activation", "wait_memory", "wait_epilogue")
)


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


@dataclass
class Work:
    """One job: command, elements of all vectors, beats, and the sums that must come out."""

    command: dict[str, int]
    vector: list[list[list[dict[str, int]]]]
    beats: list[list[int]]
    sums: list[list[list[int]]]


def work(
    config: ArchConfig,
    rng: np.random.Generator,
    rows: int,
    *,
    head: bool = False,
    gated: bool = False,
    parts: int = 1,
    extreme: bool = False,
    wide: tuple[int, int] | None = None,
) -> Work:
    """A job of random values; ``wide`` are bits of its weights and activations."""
    form = config.head if head else config.projection
    if wide is not None:
        act = config.head.act if wide[1] > config.act_bits else config.projection.act
        form = Projection(act, wide[0], weight_qmax=NIBBLES if wide[0] > config.weight_bits else 0)
    channels = config.out_channels if gated else config.in_channels
    top = 1 << (form.bits - 1)
    weight = rng.integers(-top, form.weight_qmax + 1, (rows, channels))
    weight_code = rng.integers(0, 256, (rows, channels // GROUP))
    tokens = config.tokens
    q = rng.integers(form.act.qmin, form.act.qmax + 1, (tokens, channels))
    code = rng.integers(0, 64, (tokens, channels // BLOCK))
    if extreme:  # the largest sums of either sign, row by row
        weight = np.where(np.arange(rows) % 2, form.weight_qmax, -top)[:, None].repeat(channels, 1)
        weight_code[:], code[:], q[:] = 255, 63, form.act.qmin
    return job(config, form, q, code, weight, weight_code, gated=gated, parts=parts)


def job(
    config: ArchConfig,
    form: Any,
    q: NDArray[Any],
    code: NDArray[Any],
    weight: NDArray[Any],
    weight_code: NDArray[Any],
    *,
    gated: bool,
    parts: int,
) -> Work:
    """A job of T vectors: q (T, channels) and code (T, blocks)."""
    weight, weight_code = weight.astype(np.int8), weight_code.astype(np.uint8)
    rows, channels = weight.shape
    slots = -(-rows // config.lanes)
    sums = form(q.astype(np.int8), code.astype(np.uint8), weight, weight_code, parts)
    padded = np.pad(sums, ((0, 0), (0, 0), (0, slots * config.lanes - rows)))  # (T, parts, rows)
    by_slot = padded.reshape(config.tokens, parts, slots, config.lanes).transpose(2, 1, 0, 3)
    command = {
        "gated": int(gated),
        "slots": slots,
        "words": channels // parts // config.products,
        "parts": parts,
        "twice": int(config.twice(form)),
    } | ({"split": int(config.beats(form) > 1)} if config.wide else {})
    width = 1 if gated else rows_per_cycle(config)
    vector = [
        [
            [{"q": int(q[t, at]), "code": int(code[t, at // BLOCK])} for at in range(n, n + width)]
            for t in range(config.tokens)
        ]
        for n in range(0, channels, width)
    ]
    beats = lane_beats(config, weight, weight_code, split=config.beats(form) > 1)
    each = by_slot.reshape(-1, config.tokens, config.lanes).tolist()
    return Work(command, vector, beats, each)


def run(dut: Bench, works: list[Work], **options: Any) -> Run:
    """Do ``works`` one after another; check all sums, and what the cycles went to."""
    config = dut.config
    expected = [s for w in works for s in w.sums]
    got = drive(
        dut, inputs(config, works), {"lanes.o": len(expected)},
        counts=[*STATES, "lanes.busy"], settle=30, **options,
    )  # fmt: skip
    assert_array_equal(got.out["lanes.o"], expected)
    words = [w.command["words"] * w.command["parts"] * w.command["slots"] for w in works]
    twice = [(1 + w.command["twice"]) * (1 + w.command.get("split", 0)) for w in works]
    assert got.counts["lanes.multiplying"] == sum(n * t for n, t in zip(words, twice, strict=True))
    assert got.counts["lanes.scale"] == sum(-(-n // config.scale_period) for n in words)
    assert sum(got.counts[name] for name in STATES) <= got.counts["lanes.busy"]
    return got


def inputs(config: ArchConfig, works: list[Work]) -> dict[str, list[Any]]:
    """Inputs of each stream."""
    given: dict[str, list[Any]] = {
        "lanes.command": [w.command for w in works],
        "buffer.i_in": [v for w in works if not w.command["gated"] for v in w.vector],
        "buffer.i_out": [v for w in works if w.command["gated"] for v in w.vector],
    }
    for lane in range(config.lanes):
        given[f"lanes.i_beat[{lane}]"] = [b for w in works for b in w.beats[lane]]
    return given


def small(bits: tuple[int, int, int], **others: Any) -> ArchConfig:
    return ArchConfig(
        **{
            "lanes": 2, "weight_bits": bits[0], "multiplier_bits": bits[1], "act_bits": bits[2],
            "in_channels": 256, "out_channels": 512, "head_qmax": 119 if bits[1] == 4 else 127,
        }
        | others
    )  # fmt: skip


@pytest.mark.parametrize("port_bits", [128, 256, 512])
@pytest.mark.parametrize("bits", [(4, 4, 4), (4, 8, 8), (8, 8, 8)])
def test_equals_numerics(bits, port_bits):
    """Jobs of all three kinds, more beats than a scale beat covers, the largest sums there are."""
    channels = max(128, port_bits // 2)
    config = small(
        bits, port_bits=port_bits, lanes=256 // port_bits or 1, in_channels=channels,
        out_channels=256,
    )  # fmt: skip
    rng = np.random.default_rng(port_bits + sum(bits))
    long = config.lanes * (config.scale_period // config.in_words) + 2
    works = [
        work(config, rng, long),
        work(config, rng, 3, gated=True, parts=2),
        work(config, rng, 3, head=True),
        work(config, rng, 2, head=True, extreme=True),
        work(config, rng, 2, gated=True, extreme=True),
    ]
    widest = max(abs(s) for w in works for sums in w.sums for s in sums[0])
    assert widest.bit_length() in (config.acc_bits - 1, config.acc_bits - 2)
    run(Bench(config), works, stalls=0.2, seed=port_bits)


@pytest.mark.parametrize(
    ("bits", "lanes", "stalls"), [((4, 4, 4), 1, 0.7), ((4, 8, 4), 3, 0.4), ((8, 8, 8), 1, 0.0)]
)
def test_lanes_and_stalls(bits, lanes, stalls):
    """Other numbers of lanes; no stalls at all, and more stalls than transfers."""
    config, rng = small(bits, lanes=lanes), np.random.default_rng(lanes)
    works = [
        work(config, rng, 2 * lanes, gated=True, parts=4),
        work(config, rng, lanes + 1, head=True),
        work(config, rng, 1),
    ]
    run(Bench(config), works, stalls=stalls, seed=lanes)


def test_a_slow_consumer_holds_up_the_end_of_a_job():
    """The last row of a head waits for room between its two passes; nothing of it is lost."""
    config = small((4, 4, 4), lanes=1, in_channels=128)
    works = [work(config, np.random.default_rng(n), 30, head=True) for n in range(2)]
    got = run(Bench(config), works, slow={"lanes.o": 0.96})
    assert got.counts["lanes.wait_epilogue"] > 100


def test_worked_values():
    """A row of 128 ones with small scales; one of -1 with mantissas; 16·upper + lower."""
    config = small((4, 4, 4), lanes=1, in_channels=128)
    weight = np.array([[1], [-1], [7]]).repeat(128, 1)
    weight_code = np.array([[0], [1 + 32], [0]])
    ones = job(
        config, config.projection, np.ones((1, 128)), np.array([[0, 0, 0, 2 + 4 * 3]]),
        weight, weight_code, gated=False, parts=1,
    )  # fmt: skip
    # Blocks: 32·1·4 three times and 32·1·(4 + 2)·8; groups: 32, and (32 + 1)·2.
    block = 3 * 128 + 1536
    sums = [[[block * 32]], [[-block * 66]], [[7 * block * 32]]]
    wide = job(
        config, config.head, np.full((1, 128), -121), np.zeros((1, 4)), weight[1:2],
        weight_code[:1], gated=False, parts=1,
    )  # fmt: skip
    assert run(Bench(config), [ones]).out["lanes.o"] == sums
    assert run(Bench(config), [wide]).out["lanes.o"] == [[[121 * 128 * 4 * 32]]]


@pytest.mark.parametrize(("head", "port_bits"), [(False, 128), (True, 128), (False, 256)])
def test_latency_and_throughput(head, port_bits):
    """A beat in every cycle over parts, slots and scale beats; a scale beat takes one more."""
    config = small((4, 4, 4), port_bits=port_bits, lanes=1, in_channels=2 * port_bits)
    words, each = config.in_words, 1 + head
    rows = config.scale_period // words + 2
    dut = Bench(config)
    got = run(dut, [work(config, np.random.default_rng(0), rows, head=head)])
    beats, sums = got.cycles["lanes.i_beat[0]"], np.array(got.cycles["lanes.o"])
    assert sums[-1] - beats[-1] == dut.lanes.latency + head
    # The first row waits for the vector to be written; after it the lanes never wait.
    steps = [words * each * dut.lanes.interval] * (rows - 1)
    steps[config.scale_period // words - 1] += 1  # the second scale beat
    assert np.diff(sums).tolist() == steps
    since = words + 1  # taken when the first row's last beat was used
    assert beats[-1] - beats[since] == (len(beats) - since - 2) * each + 1
    assert got.counts["lanes.wait_epilogue"] == got.counts["lanes.wait_memory"] - 1 == 0


def test_takes_only_its_own_beats():
    """Beats of the next job stay where they are until its command comes."""
    config = small((4, 4, 4), lanes=1)
    rng = np.random.default_rng(0)
    works = [work(config, rng, 2), work(config, rng, 2, head=True), work(config, rng, 2)]
    got = run(Bench(config), works)
    at = 0
    for n, w in enumerate(works):
        assert got.cycles["lanes.i_beat[0]"][at] > got.cycles["lanes.command"][n]
        at += len(w.beats[0])


def test_what_a_cycle_waits_for():
    """Activations before memory before the epilogue; nothing between jobs."""
    config = small((4, 4, 4))
    this = work(config, np.random.default_rng(0), 10)  # five parts
    given = inputs(config, [this])

    def waits(settle: int = 100, **changed: list[Any]) -> dict[str, int]:
        names = {"command": "lanes.command", "vector": "buffer.i_in"} | {
            f"beat{n}": f"lanes.i_beat[{n}]" for n in range(2)
        }
        fed = given | {names[name]: values for name, values in changed.items()}
        got = drive(Bench(config), fed, {}, counts=STATES, settle=settle)
        return {name: got.counts[name] for name in STATES}

    beats = {f"beat{n}": this.beats[n] for n in range(2)}
    idle = waits(command=[], beat0=[], beat1=[])
    assert set(idle.values()) == {0}
    words = this.command["words"]
    missing = waits(beat0=beats["beat0"][:2], beat1=beats["beat1"][:2], vector=[])
    assert missing["lanes.wait_activation"] > 90
    assert (missing["lanes.multiplying"], missing["lanes.scale"]) == (0, 1)
    both = waits(beat0=beats["beat0"][:1], beat1=beats["beat1"][:1], vector=[])
    assert both["lanes.wait_activation"] > 90 > both["lanes.wait_memory"]
    hungry = waits(beat0=beats["beat0"][:4], beat1=beats["beat1"][:3])
    assert hungry["lanes.wait_memory"] > 90
    assert hungry["lanes.multiplying"] == 2
    blocked = waits()  # four parts are held, the last beat of the fifth is not issued
    assert blocked["lanes.wait_epilogue"] > 90
    assert blocked["lanes.multiplying"] == 5 * words - 1


@pytest.mark.parametrize(
    ("tokens", "bits", "port_bits", "stalls", "packed"),
    [(2, (4, 4, 4), 128, 0.2, False), (2, (8, 8, 8), 128, 0.3, False),
     (2, (4, 4, 4), 256, 0.2, True), (4, (4, 4, 4), 128, 0.0, True),
     *(pytest.param(*case, marks=pytest.mark.slow) for case in (
         (4, (4, 4, 4), 128, 0.5, False), (4, (4, 8, 8), 256, 0.0, False),
         (8, (4, 4, 4), 128, 0.4, True)))],
)  # fmt: skip
def test_several_tokens(tokens, bits, port_bits, stalls, packed):
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


def test_sums_of_all_tokens_wait_together():
    config = small((4, 4, 4), lanes=1, in_channels=128, tokens=2)
    works = [work(config, np.random.default_rng(n), 20, head=True) for n in range(2)]
    got = run(Bench(config), works, slow={"lanes.o": 0.96})
    assert got.counts["lanes.wait_epilogue"] > 100


@pytest.mark.parametrize("packed", [False, True])
def test_worked_values_of_four_tokens(packed):
    """Ones, twos, ... against two rows, of ones and of -3: 128·v·4·32, and -3 times that."""
    config = small((4, 4, 4), lanes=2, in_channels=128, tokens=4, packed=packed)
    weight = np.array([[1], [-3]]).repeat(128, 1)
    q = np.arange(1, 5)[:, None].repeat(128, 1)
    one = job(
        config, config.projection, q, np.zeros((4, 4)), weight, np.zeros((2, 1)),
        gated=False, parts=1,
    )  # fmt: skip
    assert one.sums == [[[16384 * v, -49152 * v] for v in range(1, 5)]]
    run(Bench(config), [one])


@pytest.mark.parametrize(
    ("tokens", "head", "packed"),
    [(2, True, False), (4, False, False), (4, True, False), (4, False, True), (4, True, True)],
)
def test_latency_and_throughput_of_several_tokens(tokens, head, packed):
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
