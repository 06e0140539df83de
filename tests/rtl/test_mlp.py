"""Hidden values of the hardware: equal to ``GatedSilu`` and ``SquaredRelu`` of numerics.mlp."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.rtl.mlp import Hidden
from lightmamba.numerics.mlp import GatedSilu, SquaredRelu
from tests.support.numbers import spread
from tests.support.streams import drive

ALONE = ArchConfig(kinds=("mlp",))
ONE_BY_ONE = ArchConfig(kinds=("mlp",), lanes=1)  # rows come so
ODD = ArchConfig(kinds=("mlp",), lanes=5)  # rows in pairs, but the fifth of a slot comes alone
CONFIGS = pytest.mark.parametrize(
    "config", [ALONE, ONE_BY_ONE, ODD], ids=["two rows", "one row", "five lanes"]
)
Job = tuple[dict[str, int], Any, Any]


def job(a: Any, b: Any = None, *, silu: int = 0, shift: int = 0) -> Job:
    """Command and operands; without b it is the square of ReLU."""
    command = {"count": len(a), "gated": int(b is not None), "silu": silu, "shift": shift}
    return command, np.asarray(a), None if b is None else np.asarray(b)


def run(jobs: list[Job], config: ArchConfig = ALONE, **options: Any) -> tuple[Any, list[int], int]:
    """Drive jobs; what came out, and what numerics says."""
    inputs: dict[str, list[Any]] = {"command": [], "i_a": [], "i_b": []}
    wanted, lost = [], 0
    for command, a, b in jobs:
        inputs["command"].append(command)
        inputs["i_a"] += a.tolist()
        if b is None:
            found, over = SquaredRelu()(a, command["shift"])
        else:
            inputs["i_b"] += b.tolist()
            found, over = GatedSilu()(a, b, command["silu"], command["shift"])
        wanted += found.tolist()
        lost += over
    got = drive(Hidden(config), inputs, {"o": len(wanted)}, counts=("lost", "busy"), **options)
    return got, wanted, lost


@CONFIGS
@pytest.mark.parametrize(("seed", "stalls"), [(0, 0.0), (1, 0.3), (2, 0.7)])
def test_equals_numerics(seed, stalls, config):
    rng, jobs = np.random.default_rng(seed), []
    for _ in range(12):
        n = int(rng.integers(1, 40))
        a, b = spread(rng, 16, n), spread(rng, 16, n)
        silu = int(rng.choice([-31, -16, -15, -14, -4, 0, 1, 3, 15, 16, 17, 62]))
        shift = int(rng.choice([-20, -3, 0, 7, 8, 9, 12, 15, 31, 32, 33, 39, 40, 62]))
        jobs.append(job(a, b if rng.integers(3) else None, silu=silu, shift=shift))
    got, wanted, lost = run(jobs, config, stalls=stalls, seed=seed)
    assert got.out["o"] == wanted
    assert got.counts["lost"] == lost
    assert lost > 0


def test_worked_values():
    """silu(1) = 0.7310586 with a of 11 fractional bits; squares; what does not fit."""
    one = 1 << 11
    got, wanted, _ = run([
        job([one, -one, 0], [1000, 1000, 1000]),
        job([3, -3, 0, 32767, -32768]),
        job([-32768, 32767], [32767, 32767], shift=8),
    ])  # fmt: skip
    assert got.out["o"] == wanted
    assert got.out["o"][:3] == [1497 * 1000, -551 * 1000, 0]
    assert got.out["o"][3:8] == [9, 0, 0, (1 << 23) - 1, 0]
    assert got.out["o"][8:] == [0, 32767 * 32767 + 128 >> 8]
    assert got.counts["lost"] == 1


@CONFIGS
@pytest.mark.parametrize("gated", [False, True])
def test_latency_and_throughput(gated, config):
    values = np.arange(1, 101)
    got, _, _ = run([job(values, values if gated else None)], config)
    assert got.cycles["o"][0] - got.cycles["i_a"][0] == Hidden.latency
    assert got.cycles["o"][-1] - got.cycles["o"][0] == 99 * Hidden.interval
    assert machine(("mlp",)).unit("hidden").latency == Hidden.latency


def test_operands_wait_for_each_other():
    values = np.arange(1, 41)
    got, wanted, _ = run([job(values, values), job(values), job(values, values)],
                         slow={"i_b": 0.9})  # fmt: skip
    assert got.out["o"] == wanted
    assert got.cycles["i_a"][:40] == got.cycles["i_b"][:40]


@pytest.mark.parametrize("config", [ONE_BY_ONE, ODD])
def test_a_row_waits_here_for_the_row_behind_it(config):
    """Rows that come apart: b is behind a, so a must be taken first; the next a is not."""
    values = np.arange(1, 41)
    got, wanted, _ = run([job(values, values)] * 2, config, late={"i_b": 50})
    assert got.out["o"] == wanted
    assert got.cycles["i_a"][0] < 50 <= got.cycles["i_a"][1]


def test_it_is_busy_until_its_last_result_is_taken():
    """A second command waits until then, so a mode never changes under a value."""
    values = np.arange(100, 132)
    got, wanted, _ = run([job(values, values, silu=3), job(values, shift=2)], slow={"o": 0.9})
    assert got.out["o"] == wanted
    assert got.cycles["command"][1] > got.cycles["o"][31]
