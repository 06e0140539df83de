"""The convolution against ``numerics.conv``."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.program import Kind
from lightmamba.numerics.conv import CausalConv, Silu
from lightmamba.rtl.conv import Conv

from ..support.streams import Run, drive

OP, SILU = CausalConv(), Silu()


def words(
    taps: Any, bias: Any, in_shift: Any, out_shift: Any, state: Any
) -> tuple[list[int], list[int]]:
    """Parameters and state of (channels,) arrays, (4, channels) taps, (3, channels) inputs."""
    param, packed = [], []
    for c in range(len(bias)):
        if c % 8 == 0:
            param.append(sum((int(s) & 255) << 8 * n for n, s in enumerate(out_shift[c : c + 8])))
        word = sum((int(w) & 255) << 8 * n for n, w in enumerate(taps[:, c]))
        param.append(word | (int(bias[c]) & 0xFFFFFF) << 32 | int(in_shift[c]) << 56)
    for c in range(0, len(bias), 2):
        word = 0
        for n, x in enumerate(state[:, c : c + 2].T.ravel()):
            word |= (int(x) & 255) << (8 * (n % 3) + 32 * (n // 3))
        packed.append(word)
    return param, packed


def mixed(rng: np.random.Generator, shape: Any, low: int, high: int) -> Any:
    """Integers of all sizes, with the extremes and zero among them."""
    bits = rng.integers(1, max(-low, high).bit_length(), shape, endpoint=True)
    values = np.clip(rng.integers(-(1 << bits), 1 << bits), low, high)
    pick = rng.integers(0, 12, shape)
    return np.select([pick == 0, pick == 1, pick == 2], [low, high, 0], values)


def weights(rng: np.random.Generator, n: int) -> tuple[Any, Any, Any]:
    """Taps, bias and output shift of n channels, a fifth of the shifts anywhere."""
    taps, bias = mixed(rng, (4, n), -128, 127), mixed(rng, n, -(1 << 23), (1 << 23) - 1)
    far = rng.random(n) < 0.2
    return taps, bias, np.where(far, rng.integers(-24, 41, n), rng.integers(-2, 12, n))


def job(rng: np.random.Generator, kinds: Any, given: Any = None) -> dict[str, Any]:
    """Everything that goes in and comes out for channels of these kinds."""
    n = len(kinds)
    x, state = mixed(rng, n, -32768, 32767), mixed(rng, (3, n), -128, 127)
    taps, bias, out_shift = given or weights(rng, n)
    in_shift = rng.integers(0, 15, n, endpoint=True)
    silu = {
        k: int(rng.integers(-31, 63)) if rng.random() < 0.3 else int(rng.integers(-5, 6))
        for k in (Kind.B, Kind.C, Kind.X)
    }
    conv, after, lost = OP(x[None, None], state[None], in_shift, taps, bias, out_shift)
    out = SILU(conv, np.array([silu[k] for k in kinds]))[0, 0]
    param, packed = words(taps, bias, in_shift, out_shift, state)
    return {
        "command": [
            {"count": n} | {f"silu_{name}": silu[k] for name, k in
                            (("B", Kind.B), ("C", Kind.C), ("x", Kind.X))}
        ],
        "i": [{"kind": int(k), "value": int(v)} for k, v in zip(kinds, x, strict=True)],
        "i_param": param,
        "i_state": packed,
        "o": [{"kind": int(k), "value": int(v)} for k, v in zip(kinds, out, strict=True)],
        "o_state": words(taps, bias, in_shift, out_shift, after[0])[1],
        "lost_input": lost[0],
        "lost": lost[1],
    }  # fmt: skip


def simulate(jobs: list[dict[str, Any]], dut: Conv | None = None, **options: Any) -> Run:
    """Jobs one after another, compared with what they should give."""
    whole: dict[str, Any] = {
        key: sum((job[key] for job in jobs[1:]), start=first) for key, first in jobs[0].items()
    }
    run = drive(
        dut or Conv(),
        {name: whole[name] for name in ("command", "i", "i_param", "i_state")},
        {name: len(whole[name]) for name in ("o", "o_state")},
        counts=("lost_input", "lost", "busy"),
        settle=5,
        **options,
    )
    assert run.out["o"] == whole["o"]
    assert run.out["o_state"] == whole["o_state"]
    assert (run.counts["lost_input"], run.counts["lost"]) == (whole["lost_input"], whole["lost"])
    return run


def runs(*counts: tuple[Kind, int]) -> list[Kind]:
    return [kind for kind, n in counts for _ in range(n)]


@pytest.mark.parametrize(("stalls", "seed"), [(0.0, 1), (0.3, 2), (0.7, 3)])
def test_equals_numerics(stalls, seed):
    rng = np.random.default_rng(seed)
    jobs = [
        job(rng, runs((Kind.B, 16), (Kind.C, 16), (Kind.X, 70))),  # a short last header
        job(rng, runs((Kind.X, 21))),  # an odd channel
        job(rng, runs((Kind.C, 1))),
        job(rng, runs((Kind.X, 32), (Kind.B, 8), (Kind.C, 8))),
    ]
    assert all(j["lost_input"] or j["lost"] for j in jobs[:2])
    run = simulate(jobs, stalls=stalls, seed=seed)
    ends = np.cumsum([len(j["o"]) for j in jobs])
    state_ends = np.cumsum([len(j["o_state"]) for j in jobs])
    for n, begin in enumerate(run.cycles["command"][1:]):  # taken when all of the last has left
        assert begin > run.cycles["o"][ends[n] - 1]
        assert begin > run.cycles["o_state"][state_ends[n] - 1]


@pytest.mark.parametrize("port", ["o", "o_state", "i", "i_param", "i_state"])
def test_one_slow_port(port):
    """It holds everything up and loses nothing, for longer than the queues are deep."""
    simulate([job(np.random.default_rng(8), runs((Kind.X, 48)))], slow={port: 0.75}, seed=4)


def test_far_shifts():
    """Shifts beyond those of the gates' shifter, of the sums that tell them apart."""
    sums = [-1, 1, -(1 << 23), (1 << 23) - 1]
    shifts = [-24, -17, -16, -15, 22, 23, 24, 25, 26, 31, 32, 40]
    bias, out_shift = np.array([(b, s) for b in sums for s in shifts]).T
    n = len(bias)
    one = job(
        np.random.default_rng(7),
        runs((Kind.X, n)),
        (np.zeros((4, n), dtype=np.int64), bias, out_shift),
    )
    assert one["lost"] == 3 + 4 + 4 + 4  # -1 · 2^15 just fits
    simulate([one])


def test_worked_values():
    """By hand: 25·40 + 3·30 + 2·20 + 1·10 − 100 = 1040; / 2^3 = 130; σ(130/2048) = 33808/65536."""
    param, state = words(
        np.array([[10, 20, 30, 40], [0, 0, 0, 0], [0, 0, 0, -128], [0, 0, 0, 1]]).T,
        np.array([-100, 1 << 22, 0, 0]),
        np.array([2, 0, 0, 1]),
        np.array([3, 7, -1, 1]),
        np.array([[1, 2, 3], [4, 5, 6], [-1, -2, -3], [7, 8, 9]]).T,
    )
    assert param[:2] == [0x01FF0703, 0x02_FFFF9C_281E140A]
    assert state[0] == 0x00060504_00030201
    run = drive(
        Conv(),
        {
            "command": [{"count": 4, "silu_B": 0, "silu_C": 5, "silu_x": -5}],
            "i": [
                {"kind": Kind.B, "value": 98},  # 98 / 4 = 24.5 rounds up to 25
                {"kind": Kind.X, "value": -32768},  # does not fit int8
                {"kind": Kind.X, "value": -127},
                {"kind": Kind.C, "value": -3},  # -1.5 rounds up to -1
            ],
            "i_param": param,
            "i_state": state,
        },
        {"o": 4, "o_state": 2},
        counts=("lost_input", "lost"),
    )
    assert run.out["o"] == [
        {"kind": Kind.B, "value": 67},  # 130 · 33808 / 65536 = 67.06
        {"kind": Kind.X, "value": 32767},  # 2^22 / 2^7 = 32768 saturates; σ is almost 1
        {"kind": Kind.X, "value": 32512},  # 127 · 128 · 2
        {"kind": Kind.C, "value": 0},  # -1 / 2 rounds up to 0
    ]
    assert run.out["o_state"] == [0x00800605_00190302, 0x00FF0908_0081FDFE]
    assert (run.counts["lost_input"], run.counts["lost"]) == (1, 1)


def test_latency_and_throughput():
    """Nine cycles for eight channels; the state leaves as it may, but never holds anything up."""
    one = job(np.random.default_rng(5), runs((Kind.X, 64)))
    dut = Conv()
    run = simulate([one], dut)
    i, o = (np.array(run.cycles[name]) for name in ("i", "o"))
    np.testing.assert_array_equal(o - i, dut.latency)
    assert i[-1] - i[0] == 64 * dut.interval - 2
    assert run.counts["busy"] == o[-1] + 2 - run.cycles["command"][0]
