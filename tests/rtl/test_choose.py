"""Choice of blocks and their weights: equal to ``numerics.routing.Routing``."""

import functools
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.blocks.experts.hardware import MOST_CHOSEN, MOST_EXPERTS
from lightmamba.hardware.rtl.experts.choose import Choose
from lightmamba.numerics.formats import INT32
from lightmamba.numerics.primitives import Ints, round_shift
from lightmamba.numerics.routing import ONE, Routing
from tests.support.numbers import spread
from tests.support.streams import Bench, Run

TYPICAL = -4  # shift of rows with 12 fractional bits
SHIFTS = [-20, -17, -16, -10, -4, 0, 1, 7, 14, 15, 16, 17, 33, 62]
LOW, HIGH = -(1 << 15), (1 << 15) - 1
LEAST, MOST = -(1 << 23), (1 << 23) - 1  # biases
Job = tuple[dict[str, int], Ints, Ints]


def places(count: int) -> dict[str, int]:
    """Places of blocks in memory, other ones for other jobs, which go along."""
    return {"first": count, "whole": 3 * count, "every": count << 19, "then": 7, "ends": count % 2}


def job(
    rows: Any, bias: Any = None, *, top: int, normed: int = 0, shift: int = TYPICAL, always: int = 1
) -> Job:
    """Command, rows and biases; without biases it is the softmax."""
    command = {
        "count": len(rows), "top": top, "always": always, "shift": shift,
        "sigmoid": int(bias is not None), "normed": normed, **places(len(rows)),
    }  # fmt: skip
    return command, np.asarray(rows), np.asarray([] if bias is None else bias, dtype=np.int64)


def expected(one: Job) -> tuple[list[int], list[int], list[int], int]:
    """Blocks, weights in their order, scores, and how many of those saturated."""
    command, rows, bias = one
    wide = round_shift(rows, command["shift"])
    score, sigmoid = INT32(wide), bool(command["sigmoid"])
    routing = Routing(command["top"], "sigmoid" if sigmoid else "softmax", bool(command["normed"]))
    chosen, weight = routing(score[None], bias if sigmoid else None)
    weighed = dict(zip(chosen[0].tolist(), weight[0].tolist(), strict=True))
    key = routing._sigmoids(score) + bias if sigmoid else score
    best = np.argsort(-key, kind="stable")[: command["top"]].tolist()
    always = [len(rows) + n for n in range(command["always"])]
    weights = [ONE] * len(always) + [weighed[expert] for expert in best]
    return always + best, weights, score.tolist(), INT32.overflows(wide)


@functools.cache
def bench() -> Bench:
    """The unit, compiled once."""
    return Bench(Choose(ArchConfig(kinds=("experts",), added_channels=128)))


def run(jobs: list[Job], **options: Any) -> Run:
    """Drive jobs, and compare all that comes out."""
    wanted = [expected(one) for one in jobs]
    count = sum(len(blocks) for blocks, *_ in wanted)
    got = bench().drive(
        {
            "command": [command for command, _, _ in jobs],
            "i": [row for _, rows, _ in jobs for row in rows.tolist()],
            "i_bias": [
                int(value) & 0xFFFFFF | 0xABCDE << 24 for _, _, bias in jobs for value in bias
            ],
        },
        {"o_choice": count, "o_weight": count},
        counts=("lost", "busy"), probes=["score"], settle=3, **options,
    )  # fmt: skip
    ids = [
        {"block": block, "last": int(place == len(blocks)), **places(one[0]["count"])}
        for one, (blocks, *_) in zip(jobs, wanted, strict=True)
        for place, block in enumerate(blocks, 1)
    ]
    assert got.out["o_choice"] == ids
    assert got.out["o_weight"] == [weight for _, weights, *_ in wanted for weight in weights]
    assert [each["value"] for each in got.out["score"]] == [
        value for _, _, scores, _ in wanted for value in scores
    ]
    assert got.counts["lost"] == sum(lost for *_, lost in wanted)
    return got


def random_job(rng: np.random.Generator) -> Job:
    """Rows of any magnitude, few values, or one; biases none, small, or at the ends."""
    n = int(rng.integers(1, rng.choice([4, 20, 40, MOST_EXPERTS], p=[0.3, 0.3, 0.3, 0.1]) + 1))
    few = rng.integers(-2, 2, n, endpoint=True) * int(rng.choice([1, 300, 4000]))
    many = [spread(rng, 16, n), rng.normal(0, 4000, n).clip(LOW, HIGH).astype(np.int64)]
    rows = [*many, few, np.full(n, rng.choice([LOW, -1, 0, HIGH]))][rng.integers(4)]
    bias = [
        rng.integers(-2, 2, n, endpoint=True), spread(rng, 24, n), rng.choice([LEAST, MOST], n),
        None, None,
    ][rng.integers(5)]  # fmt: skip
    return job(
        rows, bias,
        top=int(rng.integers(1, min(n, MOST_CHOSEN), endpoint=True)),
        normed=int(rng.integers(2)),
        shift=int(rng.choice([TYPICAL, TYPICAL, SHIFTS[0], rng.choice(SHIFTS)])),
        always=int(rng.choice([1, 2, 15])),
    )  # fmt: skip


@pytest.mark.parametrize(("seed", "stalls"), [(0, 0.0), (1, 0.0), (2, 0.3), (3, 0.7)])
def test_equals_numerics(seed, stalls):
    rng = np.random.default_rng(seed)
    got = run([random_job(rng) for _ in range(40)], stalls=stalls, seed=seed)
    assert got.counts["lost"] > 0


@pytest.mark.parametrize("bias", [None, MOST, LEAST])
def test_all_experts(bias):
    """Also those whose number has all its bits, chosen; and the other way round."""
    rows = np.random.default_rng(5).integers(-2000, 2000, MOST_EXPERTS)
    rows[[0, 127, 128, 255]] = 5000
    biases = None if bias is None else np.full(MOST_EXPERTS, bias)
    got = run([job(rows, biases, top=MOST_CHOSEN, normed=1, always=15)])
    assert [each["block"] for each in got.out["o_choice"]][14:19] == [270, 0, 127, 128, 255]


@pytest.mark.parametrize("rows", [range(30), range(30, 0, -1), [7] * 30, [1, 2] * 15])
def test_orders(rows):
    """Each row before all others, behind them, equal to all, or among them; fewer than places."""
    rows = list(rows)
    run([job(rows, top=16), job(rows[:3], top=3), job(rows[:16], [0] * 16, top=15, normed=1)])


def test_worked_values():
    """Equal scores share; one point below weighs half; ties go to the lower number."""
    one = 1 << 12
    got = run([
        job([5], top=1),
        job([7, 7], top=2),
        job([0, one], top=2),
        job([3, 9, 9, 9], top=2),
        job([0, 0], [0, 1], top=1),
        job([0, 0], [0, 1], top=1, normed=1),
        job([HIGH, 0], [LEAST, MOST], top=1, shift=-20),
    ])  # fmt: skip
    blocks, weights = [each["block"] for each in got.out["o_choice"]], got.out["o_weight"]
    assert blocks[:2] == [1, 0]
    assert weights[:2] == [ONE, ONE]
    assert weights[2:5] == [ONE, ONE >> 1, ONE >> 1]
    assert blocks[5:8] == [2, 1, 0]
    assert [abs(w - e) <= 1 for w, e in zip(weights[6:8], (21845, 10923), strict=True)] == [1, 1]
    assert blocks[8:11] == [4, 1, 2]
    assert (blocks[12], weights[12]) == (1, ONE >> 1)
    assert (blocks[14], weights[14]) == (1, ONE)
    assert (blocks[16], weights[16]) == (1, ONE >> 1)
    assert got.counts["lost"] == 1


def test_a_bias_chooses_and_does_not_weigh():
    rows = np.arange(-20, 20) * 500
    weights = []
    for bias in (np.zeros(40), np.full(40, MOST), np.full(40, LEAST)):
        weights.append(run([job(rows, bias, top=16, normed=1)]).out["o_weight"])
    assert weights[0] == weights[1] == weights[2]


def test_sigmoids_of_zero_have_no_sum():
    """Their weights are 0; the next job's are not."""
    low = job([LOW] * 4, [0] * 4, top=3, normed=1, shift=-10)
    assert run([low, job([0, 0], [0, 0], top=2, normed=1)]).out["o_weight"] == [
        ONE, 0, 0, 0, ONE, ONE >> 1, ONE >> 1
    ]  # fmt: skip


def test_far_scores_weigh_nothing():
    """Falls of 31, 32 and more, up to all that 32 bits have."""
    rows = [0, -31, -32, -33, -63, -64, -127, -128]
    run([
        job(rows, top=8, shift=-16),
        job([HIGH, LOW], top=2, shift=-20),
        job([HIGH, LOW], top=2, shift=-16),
    ])  # fmt: skip


@pytest.mark.parametrize("normed", [0, 1])
def test_weights_of_all_sigmoids_there_are(normed):
    """Sums of every size."""
    rows = np.arange(-8, 5) * 4000
    run([job([row] * n, [0] * n, top=n, normed=normed) for row in rows for n in (1, 3)])


@pytest.mark.parametrize("sigmoid", [False, True])
def test_what_every_token_takes_waits_for_nothing(sigmoid):
    rows = np.arange(20)
    late = {"i_bias" if sigmoid else "i": 60}
    got = run([job(rows, rows if sigmoid else None, top=4, always=7)], late=late)
    for name in ("o_choice", "o_weight"):
        assert got.cycles[name][:7] == [got.cycles["command"][0] + 1 + n for n in range(7)]
        assert got.cycles[name][7] > 60


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("top", [1, 5, 16])
def test_latency_and_throughput(top, sigmoid):
    rows = np.arange(40)
    got = run([job(rows, rows if sigmoid else None, top=top)])
    first = got.cycles["i"][0]
    assert got.cycles["i"] == [first + Choose.interval * n for n in range(40)]
    for name, latency in (("o_choice", Choose.latency), ("o_weight", Choose.weight_latency)):
        assert got.cycles[name][1:] == [first + 39 + latency + n for n in range(top)]


def test_rows_and_biases_wait_for_each_other():
    rows = np.arange(30)
    jobs = [job(rows, rows, top=4), job(rows, top=4), job(rows, -rows, top=4)]
    for slow in ("i", "i_bias"):
        cycles = run(jobs, slow={slow: 0.8}).cycles
        assert cycles["i_bias"] == cycles["i"][:30] + cycles["i"][60:]


@pytest.mark.parametrize(("late", "other"), [("o_choice", "o_weight"), ("o_weight", "o_choice")])
def test_blocks_and_weights_do_not_wait_for_each_other(late, other):
    """All of either leave before the first of the other one is taken; then the job is over."""
    one = job(np.arange(30), top=16, always=15)
    got = run([one, one], late={late: 200})
    assert got.cycles[other][30] < 200 <= got.cycles[late][0]
    assert got.cycles["command"][1] > got.cycles[late][30]


@pytest.mark.parametrize("slow", ["o_choice", "o_weight"])
def test_it_is_busy_until_the_last_is_taken(slow):
    rows = np.arange(20)
    got = run([job(rows, top=5)], slow={slow: 0.9})
    end = max(got.cycles[name][-1] for name in ("o_choice", "o_weight"))
    assert got.counts["busy"] == end - got.cycles["command"][0] + 2


def test_nothing_of_a_job_is_left_to_the_next():
    """Neither keys nor sums, also of fewer experts that are all worse."""
    first = job(np.arange(100, 130), np.full(30, MOST), top=2)
    then = [job([-5, -6, -7], top=2), job([-9], [LEAST], top=1, normed=1)]
    run([first, *then, first, *then[::-1]])
