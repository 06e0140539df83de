"""Blocks of x, B and C against ``numerics.blocks.Pow2Block``."""

from typing import Any

import numpy as np
import pytest

from lightmamba.hardware.rtl.blocks import Blocks
from lightmamba.numerics.blocks import Pow2Block
from tests.support.machine import Kind

from ..support.streams import Run, drive

OP = Pow2Block()


def channels(rng: np.random.Generator, n: int) -> Any:
    """int16 values, as large as a random number of bits, sometimes the extremes."""
    top = 1 << int(rng.integers(0, 16))
    values = rng.integers(-top, top, n, endpoint=True)
    values[rng.random(n) < 0.05] = -top
    return np.clip(values, -32768, 32767) * (rng.random() < 0.95)


def job(
    rng: np.random.Generator, *units: Kind, headdim: int, d_state: int, op: Pow2Block = OP
) -> dict[str, Any]:
    """Heads and groups in this order: command, rows, and what comes out."""
    rows: list[dict[str, int]] = []
    out: dict[str, list[dict[str, int]]] = {"o_x": [], "o_bc": []}
    for kind in units:
        n = headdim if kind == Kind.X else d_state
        block = min(op.block, n)
        parts = [channels(rng, min(block, n - at)) for at in range(0, n, block)]
        x = np.concatenate(parts)
        q, exp = Pow2Block(op.bits, block)(np.pad(x, (0, -n % block)))
        rows += [{"kind": int(kind), "value": int(v)} for v in x]
        out["o_x" if kind == Kind.X else "o_bc"] += [
            {"kind": int(kind), "q": int(q[c]), "exp": int(exp[c // block])} for c in range(n)
        ]
    command = {"count": len(rows), "headdim": headdim, "d_state": d_state}
    return {"command": [command], "i": rows} | out


def simulate(jobs: list[dict[str, Any]], op: Pow2Block = OP, **options: Any) -> Run:
    """Jobs one after another, compared with what they should give."""
    whole: dict[str, Any] = {
        key: sum((job[key] for job in jobs[1:]), start=first) for key, first in jobs[0].items()
    }
    run = drive(
        Blocks(op),
        {name: whole[name] for name in ("command", "i")},
        {name: len(whole[name]) for name in ("o_x", "o_bc")},
        counts=("busy",),
        settle=5,
        **options,
    )
    assert run.out["o_x"] == whole["o_x"]
    assert run.out["o_bc"] == whole["o_bc"]
    return run


@pytest.mark.parametrize(("stalls", "seed"), [(0.0, 1), (0.3, 2), (0.6, 3)])
def test_equals_numerics(stalls, seed):
    rng = np.random.default_rng(seed)
    B, C, X = Kind.B, Kind.C, Kind.X
    jobs = [
        job(rng, B, B, C, C, X, X, X, headdim=64, d_state=16),  # reordered
        job(rng, X, B, C, headdim=48, d_state=80),  # naive, uneven last blocks
        job(rng, B, C, X, X, X, headdim=5, d_state=16),
        job(rng, C, X, B, headdim=1, d_state=3),
        job(rng, X, headdim=130, d_state=1),
    ]
    run = simulate(jobs, stalls=stalls, seed=seed)
    ends = np.cumsum([(len(j["o_x"]), len(j["o_bc"])) for j in jobs], axis=0)
    for begin, (x, bc) in zip(run.cycles["command"][1:], ends, strict=False):
        assert begin > run.cycles["o_x"][x - 1]  # taken when all of the last has left
        assert bc == 0 or begin > run.cycles["o_bc"][bc - 1]


def test_every_magnitude():
    """Every exponent at both of its ends, rounding up to 128 among them: blocks of two."""
    op = Pow2Block(8, 2)
    edges = [e for bits in range(17) for e in ((1 << bits) - 1, 1 << bits) if e <= 32768]
    values = [v for e in edges for v in ([-e, e // 3] if e else [0, 0])]
    values += [v for e in edges if e < 32768 for v in (e // 3, e)]
    rows = [{"kind": int(Kind.X), "value": v} for v in values]
    q, exp = op(np.array(values))
    command = {"count": len(rows), "headdim": 128, "d_state": 1}
    wanted = [{"kind": int(Kind.X), "q": int(v), "exp": int(exp[n // 2])} for n, v in enumerate(q)]
    assert set(exp) == set(range(10))
    simulate([{"command": [command], "i": rows, "o_x": wanted, "o_bc": []}], op)


def test_worked_values():
    """By hand: |-128| needs 8 bits, one more than int8 holds; 255 / 2 rounds up and saturates."""
    values = [(Kind.B, -128), (Kind.B, 3), (Kind.B, 127), (Kind.B, -1), (Kind.X, 255), (Kind.X, -3)]
    run = drive(
        Blocks(),
        {
            "command": [{"count": 6, "headdim": 2, "d_state": 2}],
            "i": [{"kind": kind, "value": value} for kind, value in values],
        },
        {"o_x": 2, "o_bc": 4},
    )
    assert run.out["o_bc"] == [
        {"kind": Kind.B, "q": -64, "exp": 1},
        {"kind": Kind.B, "q": 2, "exp": 1},
        {"kind": Kind.B, "q": 127, "exp": 0},
        {"kind": Kind.B, "q": -1, "exp": 0},
    ]
    assert run.out["o_x"] == [
        {"kind": Kind.X, "q": 127, "exp": 1},
        {"kind": Kind.X, "q": -1, "exp": 1},
    ]


@pytest.mark.parametrize("port", ["o_x", "o_bc"])
def test_one_slow_output(port):
    """It holds everything up and loses nothing, for longer than the queues are deep."""
    rng = np.random.default_rng(6)
    one = job(rng, *[Kind.X, Kind.B] * 2, headdim=32, d_state=32)
    simulate([one], slow={port: 0.75}, seed=4)


@pytest.mark.parametrize("block", [5, 32])
def test_latency_and_throughput(block):
    one = job(np.random.default_rng(4), *[Kind.X] * 5, headdim=block, d_state=16)
    run = simulate([one])
    i, o = (np.array(run.cycles[name]) for name in ("i", "o_x"))
    np.testing.assert_array_equal(np.diff(i), 1)
    np.testing.assert_array_equal(np.diff(o), 1)
    assert o[0] - i[block - 1] == Blocks.latency
    assert run.counts["busy"] == o[-1] + 2 - run.cycles["command"][0]
