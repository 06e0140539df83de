"""The block quantizer against ``numerics.blocks.BlockQuant``."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from lightmamba.hardware.rtl.quantizer import Quantizer
from lightmamba.numerics.blocks import BlockQuant

from ..support.streams import Run, drive

OP, HEAD = BlockQuant(4), BlockQuant(8, qmax=119)


def vector(rng: np.random.Generator, n: int, base: int) -> Any:
    """Values in blocks of 32 whose scales mostly suit ``base``; zeros and extremes besides."""
    values = np.zeros(n, dtype=np.int64)
    for at in range(0, n, 32):
        part = values[at : at + 32]
        top = 2.0 ** (base + rng.uniform(3, 19))
        part[:] = np.clip(rng.normal(0, top / 3, len(part)), -(2.0**31), 2.0**31 - 1)
        choice = rng.integers(0, 10)
        if choice == 0:
            part[:] = 0
        elif choice == 1:
            part[rng.integers(len(part))] = rng.choice([-(1 << 31), (1 << 31) - 1])
        elif choice == 2:
            part[:] = rng.integers(-1, 2, len(part))
    return values


def paired(items: Iterable[Any], width: int) -> list[list[Any]]:
    """Items as they come or leave, ``width`` in a cycle; an odd last value with 0."""
    items = list(items)
    items += [0] * (-len(items) % width)
    return [items[n : n + width] for n in range(0, len(items), width)]


def job(
    values: Any, *, pad: int, base: int, head: int,
    ops: tuple[BlockQuant, BlockQuant] = (OP, HEAD), width: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Command, values, and what comes out."""
    op = ops[head]
    q, code, clipped, clamped = op(np.pad(values, (0, pad)), base)
    return {
        "command": [{"count": len(values), "pad": pad, "base": base, "head": head}],
        "i": paired(map(int, values), width),
        "o": paired(
            ({"q": int(v), "code": int(code[n // op.block])} for n, v in enumerate(q)), width
        ),
        "clipped": clipped,
        "lost_scale": clamped,
    }


def simulate(
    jobs: list[dict[str, Any]], ops: tuple[BlockQuant, BlockQuant] = (OP, HEAD), **options: Any
) -> Run:
    """Jobs one after another, compared with what they should give."""
    whole: dict[str, Any] = {
        key: sum((job[key] for job in jobs[1:]), start=first) for key, first in jobs[0].items()
    }
    run = drive(
        Quantizer(*ops, width=len(whole["i"][0])),
        {name: whole[name] for name in ("command", "i")},
        {"o": len(whole["o"])},
        counts=("clipped", "lost_scale", "busy"),
        settle=5,
        **options,
    )
    assert run.out["o"] == whole["o"]
    for name in ("clipped", "lost_scale"):
        assert run.counts[name] == whole[name], name
    return run


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize(("stalls", "seed"), [(0.0, 1), (0.3, 2), (0.6, 3)])
def test_equals_numerics(stalls, seed, width):
    rng = np.random.default_rng(seed)
    jobs = [
        job(vector(rng, n, base), pad=pad, base=base, head=head, width=width)
        for n, pad, head, base in [
            (160, 0, 0, 7), (100, 28, 1, 0), (37, 91, 0, 31), (32, 0, 1, 12), (1, 127, 0, 3),
            (96, 32, 1, 10),
        ]
    ]  # fmt: skip
    assert sum(j["clipped"] for j in jobs) > 0
    assert sum(j["lost_scale"] for j in jobs) > 0
    run = simulate(jobs, stalls=stalls, seed=seed)
    ends = np.cumsum([len(j["o"]) for j in jobs])
    for n, begin in enumerate(run.cycles["command"][1:]):  # taken when all of the last has left
        assert begin > run.cycles["o"][ends[n] - 1]


@pytest.mark.parametrize("head", [0, 1])
def test_every_threshold(head):
    """Just below and at every threshold of every octave, by blocks of two."""
    ops = (BlockQuant(4, 2), BlockQuant(8, 2, 119))
    _, thresholds = ops[head].thresholds
    largest = np.array(
        [m for k in range(1, 33) for t in thresholds for m in ((t - 1) >> 32 - k, -(-t >> 32 - k))]
    )
    largest = largest[largest <= 1 << 31]
    jobs = []
    low = ops[head].index(largest) < 70
    for base, some in ((0, largest[low]), (14, largest[~low])):
        values = np.stack([some // 3, -some], axis=1).ravel()
        jobs.append(job(values, pad=0, base=base, head=head, ops=ops))
    codes = {beat["code"] for one in jobs for (beat,) in one["o"]}
    assert codes == set(range(64))
    simulate(jobs, ops)


def test_worked_values():
    """By hand, to 4 bits: the scale is nearest to absmax / 7.5, so code 2 (6/4) for 11 or 12."""
    values = [12, -12, 1, 2, -3, 6, 10, 0] + [0] * 24  # 12 / 7.5 = 1.6: 1.5 is nearest
    assert len(values) == 32
    large = [1 << 30, -(1 << 31)] + [-(1 << 29)] * 30
    run = drive(
        Quantizer(OP, HEAD, 2),
        {
            "command": [
                {"count": 32, "pad": 32, "base": 0, "head": 0},
                {"count": 32, "pad": 0, "base": 0, "head": 1},
            ],
            "i": paired(values + large, 2),
        },
        {"o": 48},
        counts=("clipped", "lost_scale"),
    )
    out = [each for beat in run.out["o"] for each in beat]
    first, zeros, last = (out[at : at + 32] for at in (0, 32, 64))
    # 12/1.5 = 8 saturates, -8 does not, .67, 1.33, -2, 4, 6.67
    assert [beat["q"] for beat in first[:8]] == [7, -8, 1, 1, -2, 4, 7, 0]
    assert {beat["code"] for beat in first} == {2}
    assert zeros == [{"q": 0, "code": 0}] * 32
    # The largest scale, 7/4 * 2^15, is far too small: all saturate, and the block is counted.
    assert last[:3] == [{"q": 119, "code": 63}, {"q": -128, "code": 63}, {"q": -128, "code": 63}]
    assert (run.counts["clipped"], run.counts["lost_scale"]) == (1 + 32, 1)


def test_eight_bits_at_both():
    rng = np.random.default_rng(9)
    ops = (BlockQuant(8), BlockQuant(8, qmax=119))
    jobs = [job(vector(rng, 96, 5), pad=32, base=5, head=h, ops=ops, width=2) for h in (0, 1)]
    simulate(jobs, ops, stalls=0.2)


def test_slow_output():
    """It holds everything up and loses nothing, for longer than the queues are deep."""
    one = job(vector(np.random.default_rng(3), 100, 4), pad=28, base=4, head=0, width=2)
    simulate([one], slow={"o": 0.75}, seed=4)


@pytest.mark.parametrize(("width", "latency"), [(1, 21), (2, 22)])
def test_latency_and_throughput(width, latency):
    one = job(vector(np.random.default_rng(4), 140, 6), pad=20, base=6, head=0, width=width)
    run = simulate([one])
    i, o = (np.array(run.cycles[name]) for name in ("i", "o"))
    np.testing.assert_array_equal(np.diff(i), 1)
    np.testing.assert_array_equal(np.diff(o), 1)
    assert o[0] - i[32 // width - 1] == latency
    assert run.counts["busy"] == o[-1] + 2 - run.cycles["command"][0]
