"""The store of B and C, read back word by word."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.mamba2.bc import BCStore
from tests.support.machine import Kind

from ..support.streams import drive

CONFIG = ArchConfig(state_elements=64, padded_state=128, groups=3)
KINDS = (Kind.B, Kind.C)


class Layer:
    """Random B and C of one layer: what is fed, and the words that must be there."""

    def __init__(self, config: ArchConfig, seed: int, groups: int, d_state: int) -> None:
        rng = np.random.default_rng(seed)
        size, words = config.bc_elements, config.row_words
        padded = words * size
        self.command = {"groups": groups, "d_state": d_state}
        self.rows: dict[Kind, list[Any]] = {}
        self.words: dict[Kind, list[Any]] = {}
        for kind in KINDS:
            q = rng.integers(-127, 128, (groups, padded))
            exp = rng.integers(1, 16, (groups, padded // 32))
            q[:, d_state:], exp[:, -(-d_state // 32) :] = 0, 0
            self.rows[kind] = [
                {"kind": kind, "q": int(q[g, n]), "exp": int(exp[g, n // 32])}
                for g in range(groups)
                for n in range(d_state)
            ]
            # A word has several blocks, or several words are of one.
            blocks, exp = max(1, size // 32), np.repeat(exp, max(1, 32 // size), axis=1)
            shapes = (groups * words, size), (groups * words, blocks)
            pairs = zip(q.reshape(shapes[0]).tolist(), exp.reshape(shapes[1]).tolist(), strict=True)
            used = -(-d_state // size)  # words of a group that have elements
            # Exponents of the others mean nothing, unless their block has elements.
            self.words[kind] = [
                {"q": a, "exp": b} if n % words < used else {"q": a}
                for n, (a, b) in enumerate(pairs)
            ]


def check(config: ArchConfig, layers: list[tuple[Layer, tuple[Kind, ...]]], stalls: float) -> None:
    """Store layer after layer; at each token read everything, a word per cycle, then take it."""
    dut: Any = BCStore(config)
    offered: list[int] = []

    async def reader(ctx: Any) -> None:
        for layer, _ in layers:
            await ctx.tick().until(dut.o_ready.valid)
            count = len(layer.words[Kind.B])
            for address in range(count + 1):
                if address:
                    for kind in KINDS:
                        wanted, word = layer.words[kind][address - 1], getattr(dut, kind.name)
                        got = {"q": list(ctx.get(word.q)), "exp": list(ctx.get(word.exp))}
                        assert got | wanted == got
                ctx.set(dut.address, min(address, count - 1))
                await ctx.tick()
            ctx.set(dut.o_ready.ready, 1)
            offered.append(1)
            await ctx.tick()
            ctx.set(dut.o_ready.ready, 0)

    drive(
        dut,
        {
            "command": [layer.command for layer, _ in layers],
            "i": [row for layer, order in layers for kind in order for row in layer.rows[kind]],
        },
        {}, stalls=stalls, beside=[reader], settle=20, limit=5000,
    )  # fmt: skip
    assert len(offered) == len(layers)


@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_equals_what_was_stored(stalls: float) -> None:
    """Groups left out, partial words and blocks, both orders; no layer touches the one before."""
    check(
        CONFIG,
        [
            (Layer(CONFIG, 1, 3, 128), KINDS),
            (Layer(CONFIG, 2, 2, 70), KINDS[::-1]),
            (Layer(CONFIG, 3, 1, 33), KINDS),
            (Layer(CONFIG, 4, 3, 1), KINDS),
            (Layer(CONFIG, 5, 1, 64), KINDS),
        ],
        stalls,
    )


@pytest.mark.parametrize("elements", [8, 16])
def test_words_of_part_of_a_block(elements: int) -> None:
    """They have one exponent, which the words without an element do not change."""
    config = ArchConfig(state_elements=elements, padded_state=64, groups=2)
    check(
        config,
        [
            (Layer(config, 6, 2, 64), KINDS),
            (Layer(config, 7, 2, 41), KINDS[::-1]),
            (Layer(config, 8, 1, 9), KINDS),
        ],
        0.2,
    )


@pytest.mark.parametrize("values", [{"state_elements": 32}, {"state_elements": 128, "tokens": 2}])
def test_worked_values(values: Any) -> None:
    """Two groups of three elements, a word of 32 each; what the first job left is cleared.

    A word of B is no longer than a row, though one of the state may hold several rows.
    """
    config = ArchConfig(**values, padded_state=32, groups=2)
    full = Layer(config, 1, 2, 32)
    few = Layer(config, 2, 2, 3)
    few.rows = {
        Kind.B: [{"kind": Kind.B, "q": n, "exp": 7 + n // 4} for n in range(1, 7)],
        Kind.C: [{"kind": Kind.C, "q": -n, "exp": 1} for n in range(1, 7)],
    }
    few.words = {
        Kind.B: [
            {"q": [1, 2, 3, *[0] * 29], "exp": [7]}, {"q": [4, 5, 6, *[0] * 29], "exp": [8]}
        ],
        Kind.C: [
            {"q": [-1, -2, -3, *[0] * 29], "exp": [1]}, {"q": [-4, -5, -6, *[0] * 29], "exp": [1]}
        ],
    }  # fmt: skip
    check(config, [(full, KINDS), (few, KINDS)], 0.0)


def test_latency_and_throughput() -> None:
    dut: Any = BCStore(CONFIG)
    layer = Layer(CONFIG, 1, 2, 128)
    rows = [row for kind in KINDS for row in layer.rows[kind]]
    run = drive(dut, {"command": [layer.command], "i": rows}, {"o_ready": 1}, counts=("busy",))
    taken = run.cycles["i"]
    assert set(np.diff(taken)) == {dut.interval}
    assert run.cycles["o_ready"] == [taken[-1] + dut.latency]
    assert run.counts["busy"] == run.cycles["o_ready"][0] - run.cycles["command"][0] + 1


@pytest.mark.parametrize(("elements", "cleared"), [(64, 1), (16, 6)])
def test_latency_of_rows_that_do_not_reach_all_words(elements: int, cleared: int) -> None:
    """A cycle for each word that is cleared, behind each row."""
    config = ArchConfig(state_elements=elements, padded_state=128, groups=2)
    dut: Any = BCStore(config)
    layer = Layer(config, 1, 2, 20)
    rows = [row for kind in KINDS for row in layer.rows[kind]]
    taken = (run := drive(dut, {"command": [layer.command], "i": rows}, {"o_ready": 1})).cycles["i"]
    between = np.diff(taken).tolist()
    assert between == ([*[dut.interval] * 19, dut.interval + cleared] * 4)[:-1]
    assert run.cycles["o_ready"] == [taken[-1] + dut.latency + cleared]
