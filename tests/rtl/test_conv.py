"""The convolution against ``numerics.conv``, for any number of tokens."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.passes import Share, slots, vectors
from lightmamba.hardware.rtl.mamba2.conv import Conv
from lightmamba.numerics.conv import CausalConv, Silu
from tests.support.machine import Kind

from ..support.streams import Bench, Run

OP, SILU = CausalConv(), Silu()


def parameters(taps: Any, bias: Any, in_shift: Any, out_shift: Any) -> list[int]:
    """Words of (channels,) arrays and (4, channels) taps; shifts of eight channels come first."""
    found = []
    for c in range(len(bias)):
        if c % 8 == 0:
            found.append(sum((int(s) & 255) << 8 * n for n, s in enumerate(out_shift[c : c + 8])))
        word = sum((int(w) & 255) << 8 * n for n, w in enumerate(taps[:, c]))
        found.append(word | (int(bias[c]) & 0xFFFFFF) << 32 | int(in_shift[c]) << 56)
    return found


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


def runs(*counts: tuple[Kind, int]) -> list[Kind]:
    return [kind for kind, n in counts for _ in range(n)]


def words(config: ArchConfig, bytes_: Any) -> list[int]:
    """Words of a slot's (channels, window) bytes."""
    each = 8 // config.window
    padded = np.pad(bytes_, ((0, -len(bytes_) % each), (0, 0))).astype(np.int8)
    return [int(word) for word in np.frombuffer(padded.tobytes(), "<u8")]


def shares(config: ArchConfig, rng: np.random.Generator, tokens: Sequence[int]) -> list[Share]:
    """Sequences of so many tokens each, of which some are replayed and some certain."""
    found = []
    for n in tokens:
        replay = int(rng.integers(0, config.undecided, endpoint=True))
        commit = int(rng.integers(max(0, n - config.undecided), n, endpoint=True))
        found.append(Share(n, replay, commit))
    return found


def passed(config: ArchConfig, rng: np.random.Generator, parts: Sequence[Share]) -> dict[str, Any]:
    """A pass as the convolution sees it; what is not used is anything."""

    def padded(used: list[dict[str, int]]) -> list[dict[str, int]]:
        others = [
            {name: int(rng.integers(0, 8)) for name in used[0]} | {"used": 0}
            for _ in range(config.tokens - len(used))
        ]
        return used + others

    return {"slot": padded(slots(parts)), "vector": padded(vectors(parts))}


def job(
    config: ArchConfig, rng: np.random.Generator, kinds: Sequence[Kind], parts: Sequence[Share],
    given: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Everything that goes in and comes out for channels of these kinds."""
    n, count = len(kinds), config.tokens
    x = mixed(rng, (count, n), -32768, 32767)
    taps, bias, out_shift = given or weights(rng, n)
    in_shift = rng.integers(0, 15, n, endpoint=True)
    silu = {
        k: int(rng.integers(-31, 63)) if rng.random() < 0.3 else int(rng.integers(-5, 6))
        for k in (Kind.B, Kind.C, Kind.X)
    }
    silu_shift = np.array([silu[k] for k in kinds])
    param = parameters(taps, bias, in_shift, out_shift)
    states: dict[str, Any] = {f"{way}_state{s}": [] for way in "io" for s in range(count)}
    out, shifted, lost, first = np.zeros((count, n), dtype=np.int64), [], [], 0
    for s, part in enumerate(parts):
        old = mixed(rng, (config.window, n), -128, 127)
        states[f"i_state{s}"] = words(config, old.T)
        window = old[part.replay : part.replay + 3].astype(np.int8)
        inputs = [*window]
        for v in range(first, first + part.tokens):
            conv, after, one = OP(x[v][None, None], window[None], in_shift, taps, bias, out_shift)
            window = after[0]
            inputs.append(window[-1])
            out[v] = SILU(conv, silu_shift)[0, 0]
            lost.append(one)
            shifted.append([int(value) for value in window[-1]])
        inputs += [np.zeros(n, dtype=np.int8)] * config.window
        kept = np.stack(inputs[part.commit : part.commit + config.window])
        states[f"o_state{s}"] = words(config, kept.T)
        first += part.tokens
    return {
        "command": [
            {"count": n, "silu_B": silu[Kind.B], "silu_C": silu[Kind.C], "silu_x": silu[Kind.X]}
        ],
        "i": [[{"kind": int(k), "value": int(v)} for v in x[:, c]] for c, k in enumerate(kinds)],
        "i_param": param,
        "o": [[{"kind": int(k), "value": int(v)} for v in out[:, c]] for c, k in enumerate(kinds)],
        "given": passed(config, rng, parts),
        "lost": lost,
        "shifted": shifted,
    } | states  # fmt: skip


@functools.cache
def bench(config: ArchConfig) -> Bench:
    """The unit, compiled once."""
    return Bench(Conv(config))


def simulate(config: ArchConfig, jobs: list[dict[str, Any]], **options: Any) -> Run:
    """Jobs one after another, compared with what they should give.

    What the pass holds is right from the transfer of a command until it is finished, no longer.
    """
    unit = bench(config)
    dut: Any = unit.dut
    numbers = range(config.tokens)
    states = [f"_state{n}" for n in numbers]
    anything = {
        "slot": {"used": 1, "first": 5, "replay": 3, "commit": 2},
        "vector": {"used": 1, "slot": 1, "place": 2},
    }

    def show(ctx: Any, one: dict[str, Any] | None) -> None:
        for name, other in anything.items():
            for n, port in enumerate(getattr(dut, name, ())):
                ctx.set(port, one[name][n] if one else other)

    async def sequencer(ctx: Any) -> None:
        valid, ready = dut.command.valid, dut.command.ready
        for each in jobs:
            show(ctx, None)
            while not (ctx.get(valid) and ctx.get(ready)):
                await ctx.changed(valid, ready)
            show(ctx, each["given"])
            for now in (True, False):  # until the command is taken, until it is finished
                while bool(ctx.get(ready)) == now:
                    await ctx.changed(ready)

    def whole(name: str) -> list[Any]:
        return [value for each in jobs for value in each[name]]

    given = ["command", "i", "i_param", *(f"i{s}" for s in states)]
    taken = ["o", *(f"o{s}" for s in states)]
    counts = [f"{name}[{n}]" for name in ("lost_input", "lost") for n in numbers]
    run = unit.drive(
        {name: whole(name) for name in given},
        {name: len(whole(name)) for name in taken},
        counts=[*counts, "busy"],
        probes=[f"probe[{n}]" for n in numbers],
        settle=8,
        beside=[sequencer],
        **options,
    )
    for state in states:
        assert run.out[f"o{state}"] == whole(f"o{state}")
    for port in taken:  # a command is taken when all of the last one has left
        for begin, end in zip(
            run.cycles["command"][1:], np.cumsum([len(each[port]) for each in jobs]), strict=False
        ):
            assert not end or begin > run.cycles[port][end - 1]
    least, at = config.tokens, 0
    for each in jobs:
        used = len(each["lost"])
        got, least = run.out["o"][at : at + len(each["o"])], min(used, least)
        assert [row[:used] for row in got] == [row[:used] for row in each["o"]]
        for n, values in enumerate(each["shifted"]):
            probed = run.out[f"probe[{n}]"][at : at + len(values)]
            assert probed == [{"value": value} for value in values]
        at += len(each["o"])
    for n in range(least):  # vectors that every job uses
        found = run.counts[f"lost_input[{n}]"], run.counts[f"lost[{n}]"]
        assert found == tuple(sum(each["lost"][n][k] for each in jobs) for k in range(2))
    return run


@pytest.mark.parametrize(
    ("tokens", "stalls"),
    [
        (1, 0.0),
        (1, 0.5),
        (2, 0.3),
        (4, 0.0),
        (4, 0.5),
        pytest.param(8, 0.2, marks=pytest.mark.slow),
    ],
)
def test_equals_numerics(tokens, stalls):
    """Passes of all kinds: one sequence, as many as there are tokens, some in between, ragged."""
    config, rng = ArchConfig(tokens=tokens), np.random.default_rng(10 * tokens + int(10 * stalls))
    half = tokens // 2
    jobs = [
        job(config, rng, runs((Kind.B, 8), (Kind.C, 8), (Kind.X, 21)), shares(config, rng, each))
        for each in ([tokens], [1] * tokens, [1, tokens - 1], [half, half], [half], [1], [half, 1])
        if 0 < sum(each) <= tokens and all(each)
    ]
    assert any(sum(map(sum, each["lost"])) for each in jobs)
    simulate(config, jobs, stalls=stalls, seed=tokens)


@pytest.mark.parametrize("tokens", [1, 2, 4, pytest.param(8, marks=pytest.mark.slow)])
def test_every_replay_and_commit(tokens):
    """Of one sequence, as many tokens as there are and one."""
    config, rng = ArchConfig(tokens=tokens), np.random.default_rng(tokens)
    jobs = [
        job(config, rng, [Kind.X] * 3, [Share(n, replay, commit)])
        for n in {tokens, 1}
        for replay in range(config.undecided + 1)
        for commit in range(max(0, n - config.undecided), n + 1)
    ]
    simulate(config, jobs)


@pytest.mark.parametrize("port", ["o", "o_state", "i", "i_param", "i_state"])
@pytest.mark.parametrize("tokens", [1, 2, 4])
def test_one_slow_port(tokens, port):
    """It holds everything up and loses nothing, for longer than the queues are deep."""
    config, rng = ArchConfig(tokens=tokens), np.random.default_rng(8)
    last = min(2, tokens)  # sequences
    parts = shares(config, rng, [tokens // last] * last)
    port += str(last - 1) * port.endswith("state")
    jobs = [job(config, rng, runs((Kind.X, n)), parts) for n in (90, 5)]
    simulate(config, jobs, slow={port: 0.75}, seed=4)


def test_far_shifts():
    """Shifts beyond those of the hardware's shifter, of the sums that tell them apart."""
    sums = [-1, 1, -(1 << 23), (1 << 23) - 1]
    shifts = [-24, -17, -16, -15, 22, 23, 24, 25, 26, 31, 32, 40]
    bias, out_shift = np.array([(b, s) for b in sums for s in shifts]).T
    n = len(bias)
    one = job(
        ArchConfig(), np.random.default_rng(7), runs((Kind.X, n)), [Share(1)],
        (np.zeros((4, n), dtype=np.int64), bias, out_shift),
    )  # fmt: skip
    assert one["lost"][0][1] == 3 + 4 + 4 + 4  # -1 · 2^15 just fits
    simulate(ArchConfig(), [one])


def test_worked_values():
    """By hand: 25·40 + 3·30 + 2·20 + 1·10 − 100 = 1040; / 2^3 = 130; σ(130/2048) = 33808/65536."""
    param = parameters(
        np.array([[10, 20, 30, 40], [0, 0, 0, 0], [0, 0, 0, -128], [0, 0, 0, 1]]).T,
        np.array([-100, 1 << 22, 0, 0]), np.array([2, 0, 0, 1]), np.array([3, 7, -1, 1]),
    )  # fmt: skip
    assert param[:2] == [0x01FF0703, 0x02_FFFF9C_281E140A]
    config = ArchConfig()
    given = [
        (Kind.B, 98),  # 98 / 4 = 24.5 rounds up to 25
        (Kind.X, -32768),  # does not fit int8
        (Kind.X, -127),
        (Kind.C, -3),  # -1.5 rounds up to -1
    ]
    results = [
        (Kind.B, 67),  # 130 · 33808 / 65536 = 67.06
        (Kind.X, 32767),  # 2^22 / 2^7 = 32768 saturates; σ is almost 1
        (Kind.X, 32512),  # 127 · 128 · 2
        (Kind.C, 0),  # -1 / 2 rounds up to 0
    ]
    one = {
        "command": [{"count": 4, "silu_B": 0, "silu_C": 5, "silu_x": -5}],
        "i": [[{"kind": kind, "value": value}] for kind, value in given],
        "i_param": param,
        "i_state0": [0x00060504_00030201, 0x00090807_00FDFEFF],
        "o": [[{"kind": kind, "value": value}] for kind, value in results],
        "o_state0": [0x00800605_00190302, 0x00FF0908_0081FDFE],
        "given": passed(config, np.random.default_rng(0), [Share(1)]),
        "lost": [(1, 1)], "shifted": [[25, -128, -127, -1]],
    }  # fmt: skip
    simulate(config, [one])


def test_worked_values_of_two_sequences():
    """By hand, two sequences of two tokens; σ of what is far above 0 is 1.

    Q of the first is 3 4 5 7 8, of the second 10 20 30 1 2: 3·1 + 4·2 + 5·3 + 7·4 = 54, and so on.
    """
    config = ArchConfig(tokens=4)
    parts = [Share(2, replay=2, commit=1), Share(2, replay=0, commit=2)]
    param = parameters(np.array([[1, 2, 3, 4]]).T, [0], [1], [0])
    rows = [[{"kind": Kind.X, "value": value} for value in (14, 15, 1, 4)]]  # 15 / 2 rounds up
    one = {
        "command": [{"count": 1, "silu_B": 0, "silu_C": 0, "silu_x": -16}],
        "i": rows, "i_param": param,
        "i_state0": [0x0000_0605_0403_0201], "i_state1": [0x1E140A], "i_state2": [],
        "i_state3": [],
        "o": [[{"kind": Kind.X, "value": value} for value in (54, 67, 144, 91)]],
        "o_state0": [0x0000_0000_0807_0504], "o_state1": [0x02011E], "o_state2": [],
        "o_state3": [],
        "given": passed(config, np.random.default_rng(0), parts),
        "lost": [(0, 0)] * 4, "shifted": [[7], [8], [1], [2]],
    }  # fmt: skip
    simulate(config, [one])


@pytest.mark.parametrize("tokens", [1, 2, 4])
def test_latency_and_throughput(tokens):
    """Nine cycles for eight channels of all vectors, as for one."""
    config, rng = ArchConfig(tokens=tokens), np.random.default_rng(5)
    dut: Any = bench(config).dut
    one = job(config, rng, runs((Kind.X, 64)), shares(config, rng, [1] * tokens))
    run = simulate(config, [one])
    i, o = (np.array(run.cycles[name]) for name in ("i", "o"))
    np.testing.assert_array_equal(o - i, dut.latency)
    assert i[-1] - i[0] == 64 * dut.interval - 2
    assert run.counts["busy"] == o[-1] + 2 - run.cycles["command"][0]
