"""Rows of the embedding table."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightmamba.hardware.rtl.embed import Embedder
from lightmamba.numerics.formats import INT32, GroupScale
from lightmamba.numerics.primitives import round_shift
from tests.support.streams import drive

SCALE = GroupScale()


def row(rng, count, groups, shift):
    """Job with a random row; what follows its last channel would be seen if it were emitted."""
    q = rng.integers(-128, 127, 128 * groups, endpoint=True)
    q[rng.random(q.size) < 0.1] = -128
    q[rng.random(q.size) < 0.1] = 127
    return count, shift, q, rng.integers(0, 255, groups, endpoint=True)


def words(q, code):
    """Row as it lies in memory; the upper bytes of the code's word mean nothing."""
    for group, c in zip(q.reshape(-1, 128), code, strict=True):
        yield int(c) | 0xA5A5A5A5A5A5A5 << 8
        yield from (int(w) for w in group.astype(np.int8).view("<u8"))


def run(jobs, **options):
    """Channels of all jobs, and the run."""
    commands = [{"count": n, "groups": len(code), "shift": s} for n, s, _, code in jobs]
    given = [w for *_, q, code in jobs for w in words(q, code)]
    result = drive(
        Embedder(), {"command": commands, "i_word": given}, {"o": sum(j[0] for j in jobs)},
        counts=["lost", "busy"], settle=40, **options,
    )  # fmt: skip
    return result.out["o"], result


def expected(jobs):
    """Channels of all jobs, and how many were lost."""
    wide = np.concatenate([
        round_shift(q * np.repeat(SCALE.multiplier(code), 128), shift)[:count]
        for count, shift, q, code in jobs
    ])  # fmt: skip
    return INT32(wide), INT32.overflows(wide)


@pytest.mark.parametrize(("seed", "stalls"), [(1, 0.0), (2, 0.2), (3, 0.6)])
def test_equals_numerics(seed, stalls):
    rng = np.random.default_rng(seed)
    shapes = [(128, 1), (5, 1), (130, 2), (256, 2), (1, 2), (120, 1), (250, 2)]
    shifts = [8, -20, 13, 62, -40, int(rng.integers(-12, 21)), int(rng.integers(-40, 63))]
    jobs = [row(rng, *shape, shift) for shape, shift in zip(shapes, shifts, strict=True)]
    got, result = run(jobs, stalls=stalls, seed=seed)
    channels, lost = expected(jobs)
    assert_array_equal(got, channels)
    assert result.counts["lost"] == lost > 0


def test_worked_values():
    """Scale codes 0 (32), 33 (33·2), 255 (63·2^7); ties go up, large ones saturate."""
    q, code = np.zeros((6, 128), dtype=int), [0, 33, 33, 255, 255, 0]
    q[:, 0] = [1, -1, 1, -128, 127, -128]
    shifts = [5, 2, 2, 0, -40, -40]
    got, result = run([(1, s, r, [c]) for s, r, c in zip(shifts, q, code, strict=True)])
    assert got == [1, -16, 17, -128 * 63 * 128, (1 << 31) - 1, -(1 << 31)]
    assert result.counts["lost"] == 2


def test_shifts_of_every_size():
    rng = np.random.default_rng(9)
    jobs = [row(rng, 8, 1, shift) for shift in range(-40, 63, 6)]
    jobs += [row(rng, 8, 1, shift) for shift in (-39, -1, 0, 1, 61, 62)]
    assert_array_equal(run(jobs)[0], expected(jobs)[0])


def test_latency_and_throughput():
    """One channel per cycle, over the words of the scales too."""
    _, result = run([row(np.random.default_rng(4), 384, 3, 8)])
    word, o = np.array(result.cycles["i_word"]), np.array(result.cycles["o"])
    assert o[0] - word[1] == Embedder.latency
    assert_array_equal(np.diff(o), Embedder.interval)
    assert result.counts["busy"] == o[-1] - result.cycles["command"][0] + 2


def test_a_slow_output_holds_words_back():
    jobs = [row(np.random.default_rng(8), 80, 1, 6)]
    assert_array_equal(run(jobs, slow={"o": 0.8})[0], expected(jobs)[0])


def test_the_rest_of_a_row_is_swallowed():
    """At one word per cycle, without a channel, and before the job ends."""
    rng = np.random.default_rng(7)
    jobs = [row(rng, 3, 3, 4), row(rng, 9, 1, 4)]
    got, result = run(jobs)
    assert_array_equal(got, expected(jobs)[0])
    word, second = result.cycles["i_word"], result.cycles["command"][1]
    assert_array_equal(np.diff(word[5:51]), 1)
    assert word[50] < second < word[51]
    assert second > result.cycles["o"][2]
