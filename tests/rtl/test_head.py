"""Logits into words, and the arg-max."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from numpy.testing import assert_array_equal

from lightmamba.hardware.rtl.head import Head
from lightmamba.hardware.rtl.layouts import o_stream
from lightmamba.hardware.rtl.streams import StreamQueue, join
from tests.support.streams import drive, handed

LOW, HIGH = -(1 << 31), (1 << 31) - 1


class Watched(wiring.Component):
    """A head whose ``next`` is streamed at every ``done``; ``moved`` if it changed without."""

    def __init__(self) -> None:
        self.head, self.moved = Head(), Signal()
        super().__init__({"o_next": o_stream(20)})

    def elaborate(self, platform: object) -> Any:
        m, before = Module(), Signal(20)
        m.submodules.head, m.submodules.queue = self.head, (queue := StreamQueue(20, 64))
        m.d.comb += [
            queue.i.valid.eq(self.head.done),
            queue.i.payload.eq(self.head.next),
            self.moved.eq((self.head.next != before) & ~self.head.done),
        ]
        m.d.sync += before.eq(self.head.next)
        join(m, queue.o, self.o_next)
        return m


def run(jobs, lanes=2, **options):
    """Words, arg-maxes and the run of jobs (valid, logits)."""
    result = drive(
        Watched(),
        {
            "head.command": [{"rows": len(x), "valid": valid} for valid, x in jobs],
            "head.i": [part for _, x in jobs for part in handed(x, lanes, HIGH)],
        },
        {"head.o_word": sum(-(-len(x) // 2) for _, x in jobs), "o_next": len(jobs)},
        counts=["head.done", "head.busy", "moved"], settle=20, **options,
    )  # fmt: skip
    assert result.counts["moved"] == 0
    assert result.counts["head.done"] == len(jobs)
    return result.out["head.o_word"], result.out["o_next"], result


def expected(jobs):
    words = []
    for _, x in jobs:
        even = np.pad(np.asarray(x, dtype=np.int32), (0, len(x) % 2))
        words += even.view("<u8").tolist()
    return words, [int(np.argmax(x[:valid])) for valid, x in jobs]


def logits(rng, count):
    """Few distinct values now and then, so that there are ties."""
    spread = rng.choice([1, 2, 40, HIGH])
    x = rng.integers(-spread - 1, spread, count, endpoint=True)
    if rng.random() < 0.5:
        x -= x.max() - rng.choice([LOW, -1, 0, HIGH])
        x = x.clip(LOW, HIGH)
    return x


@pytest.mark.parametrize("lanes", [1, 2, 3, 9])
@pytest.mark.parametrize(("seed", "stalls"), [(1, 0.0), (2, 0.3), (3, 0.7)])
def test_equals_numpy(seed, stalls, lanes):
    rng = np.random.default_rng(seed)
    jobs = []
    for rows in (1, 2, 3, 8, 33, 64, 7, 20, 1, 2, 45):
        x = logits(rng, rows)
        jobs.append((int(rng.choice([rows, int(rng.integers(1, rows, endpoint=True))])), x))
    words, best, _ = run(jobs, lanes, stalls=stalls, seed=seed)
    assert (words, best) == expected(jobs)


def test_worked_values():
    """First in the low half, an odd one alone; ties to the lowest id; padding never wins."""
    words, best, _ = run(
        [
            (3, [5, -1, 7]),
            (4, [-3, -2, -2, -9]),
            (2, [-8, -5, 100, 200, 300]),
            (1, [LOW]),
            (3, [LOW, HIGH, HIGH]),
            (1, [-7, 3]),
        ]
    )
    assert words[:2] == [0xFFFFFFFF_00000005, 7]
    assert words[4:7] == [0xFFFFFFFB_FFFFFFF8, 0x000000C8_00000064, 300]
    assert best == [2, 1, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("lanes", "rows", "last"),  # last transfer of each word, and cycles that it takes longer
    [
        (2, 16, [*range(8)]),
        (2, 17, [*range(9)]),
        (1, 5, [1, 3, 4]),
        (3, 9, [0, 2, 3, 4, 5]),
        (3, 5, [0, 2, (2, 1)]),
    ],
)  # fmt: skip
def test_latency_and_throughput(lanes, rows, last):
    _, _, result = run([(rows, range(rows))], lanes)
    i, o = np.array(result.cycles["head.i"]), np.array(result.cycles["head.o_word"])
    late = [x if isinstance(x, tuple) else (x, 0) for x in last]
    assert_array_equal(o, [i[n] + Head.latency + more for n, more in late])
    assert_array_equal(np.diff(i), Head.interval)
    assert result.cycles["o_next"][0] - StreamQueue.latency - i[-1] == Head.done_latency
    assert result.counts["head.busy"] == o[-1] - result.cycles["head.command"][0] + 2


@pytest.mark.parametrize(("lanes", "rows"), [(2, 40), (3, 40), (3, 41), (3, 5)])
def test_a_slow_output_holds_logits_back(lanes, rows):
    """Also the half that 41 rows of three lanes leave behind their last pair."""
    x = np.random.default_rng(7).integers(LOW, HIGH, rows, endpoint=True)
    for seed in range(3):
        words, best, _ = run([(rows, x)], lanes, slow={"head.o_word": 0.9}, seed=seed)
        assert (words, best) == expected([(rows, x)])


def test_one_job_after_the_other():
    _, best, result = run([(3, [1, 9, 3]), (2, [4, 2])])
    assert best == [1, 0]
    assert result.cycles["head.command"][1] > result.cycles["head.o_word"][1]
