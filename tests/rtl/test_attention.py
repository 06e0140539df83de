"""Attention of the hardware: equal to ``numerics.attention`` position by position."""

from typing import Any

import numpy as np
import pytest

from lightmamba.arch.hardware import cycles
from lightmamba.arch.spread import rows
from lightmamba.blocks.attention.hardware import pages as pages_of
from lightmamba.blocks.attention.steps import position_words
from lightmamba.hardware.machine.kinds import machine
from tests.support.attention import SIZES, SOME, case, check, machine_of


def slow(*values: Any) -> Any:
    """Parameters of a slow test."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize("before", [0, 33, 32, 63, slow(1), slow(31)])
def test_equals_numerics(before):
    config = machine_of(SOME)
    check(config, case(np.random.default_rng(before), SOME, config, [(before, 1)]))


def test_pages_that_come_before_the_queries_wait():
    """Earlier positions are loaded ahead, as many pages as there is room for.

    A page is read once for each of two queries before another one takes its place.
    """
    config, begins = machine_of(SOME, rows=1), 700
    one = case(np.random.default_rng(7), SOME, config, [(300, 1)])
    held = rows(config, 1 + position_words(SOME, config), pages_of(1) * 32)
    got = check(config, one, late={"i": begins})
    assert got.cycles["i_kv"][held - 1] < begins - 100
    assert got.cycles["i_kv"][held] > got.cycles["i"][len(one.rows[0]) // 2]


@pytest.mark.parametrize(("score", "mean", "spread"), [
    (-16, 0, 30000.0), (30, 31, 9000.0), (20, 7, 1.0), slow(-4, 9, 30000.0),
])  # fmt: skip
def test_scores_that_saturate_and_scores_that_are_equal(score, mean, spread):
    rng, config = np.random.default_rng(score + 40), machine_of(SOME)
    one = case(rng, SOME, config, [(40, 1)], score=score, mean=mean, spread=spread)
    check(config, one)
    assert score > -16 or min(one.lost[0]) > 0


@pytest.mark.parametrize("rises", [58.0, 70.0, slow(3.0)])
def test_a_new_maximum_in_the_last_page(rises):
    """Earlier sums fall a little, by about their width, and by 64 and a little."""
    rng, config = np.random.default_rng(int(rises)), machine_of(SOME)
    check(config, case(rng, SOME, config, [(64, 1)], spread=3000.0, rises=rises))


@pytest.mark.parametrize(("before", "layers"), [(0, 2), slow(0, 4), slow(32, 3)])
def test_layers_follow_each_other(before, layers):
    rng, config = np.random.default_rng(before), machine_of(SOME)
    check(config, *(case(rng, SOME, config, [(before, 1)]) for _ in range(layers)), stalls=0.3)


@pytest.mark.slow
@pytest.mark.board
def test_sums_are_wide_enough():
    """Products of the largest values and exponents, over as many channels as a head may have."""
    sizes = SIZES(2, 2, 256)
    config = machine_of(sizes, rows=1)
    one = case(np.random.default_rng(9), sizes, config, [(32, 1)], score=12, extreme=True)
    assert one.lost[0] == [0]
    check(config, one)


@pytest.mark.parametrize("port", ["o", "o_kv"])
def test_an_output_waits(port):
    """Until the unit can do nothing more: heads keep their sums, and a job what it writes.

    The queue of the means holds half a head's.
    """
    sizes = SIZES(3, 3, 64)
    config = machine_of(sizes, rows=1)
    cases = [case(np.random.default_rng(n), sizes, config, [(3, 1)]) for n in range(2)]
    got = check(config, *cases, late={port: 1200})
    assert got.cycles["command"][1] > 1200  # no job ends before both


@pytest.mark.slow
def test_all_at_once():
    """Slots, chunks, tiles, parts, values that saturate, two layers."""
    rng, sizes = np.random.default_rng(2), SIZES(3, 1, 64)
    config = machine_of(sizes, tokens=4)
    cases = [
        case(rng, sizes, config, [(30, 3), (0, 1)], score=score, mean=mean, spread=9000.0)
        for score, mean in ((-3, -9), (9, 7))
    ]
    assert min(map(sum, cases[0].lost)) > 0
    check(config, *cases, stalls=0.1)


@pytest.mark.parametrize(("lanes", "port", "channels"), [
    (1, 64, 32), slow(5, 256, 32), slow(1, 256, 32), slow(2, 64, 32), slow(4, 512, 64),
    slow(2, 512, 128), slow(8, 512, 128),
])  # fmt: skip
def test_rows_of_memory(lanes, port, channels):
    """Narrower and wider than a key and its value, and than W channels of both.

    After some positions, and after as many as rows of exponents are whole.
    """
    rng, sizes = np.random.default_rng(port), SIZES(2, 2, 40 if channels == 32 else channels)
    config = machine_of(sizes, channels=channels, lanes=lanes, port=port)
    for before in (35, config.row_bytes // 8):
        check(config, case(rng, sizes, config, [(before, 1)]), stalls=0.2)


# Positions of a word, lanes, port: a row has part of a position, one, several, or several words.
@pytest.mark.parametrize(("positions", "lanes", "port", "before"), [
    (4, 4, 256, 67), (2, 2, 64, 67),
    *(slow(*one) for one in (
        (4, 4, 256, 1), (2, 4, 128, 30), (2, 4, 128, 1), (4, 1, 64, 33), (4, 1, 64, 30),
        (4, 4, 256, 128), (2, 8, 512, 30), (2, 8, 512, 67),
    )),
])  # fmt: skip
def test_several_positions_at_once(positions, lanes, port, before):
    """The last word holds older positions, new ones, or both; scores that saturate."""
    rng, sizes = np.random.default_rng(before), SIZES(3, 1, 24)
    config = machine_of(sizes, channels=32 * positions, lanes=lanes, port=port, rows=1)
    one = case(rng, sizes, config, [(before, 1)], score=-3, spread=9000.0)
    check(config, one, one, stalls=0.2, seed=before)
    check(config, case(rng, sizes, config, [(before, 1)], spread=3000.0, rises=30.0))


@pytest.mark.parametrize("tokens", [1, 2])
def test_pages_of_one_tile_follow_each_other(tokens):
    """A page is loaded in 8 cycles, and used in as many: the next one needs its sums at once."""
    sizes = SIZES(1, 1, 32)
    config = machine_of(sizes, channels=128, port=512, rows=1, tokens=tokens)
    one = case(np.random.default_rng(tokens), sizes, config, [(200, 1)])
    check(config, one)


@pytest.mark.parametrize(("positions", "port", "given"), [
    (4, 64, [(31, 2), (0, 2)]), slow(2, 256, [(63, 4)]), slow(4, 512, [(30, 3), (5, 1)]),
])  # fmt: skip
def test_chunks_over_words_of_several_positions(positions, port, given):
    """Slots that begin and end within a word."""
    rng, sizes = np.random.default_rng(positions), SIZES(4, 2, 32)
    config = machine_of(sizes, channels=32 * positions, port=port, tokens=4, rows=1)
    check(config, case(rng, sizes, config, given), stalls=0.1)


@pytest.mark.parametrize("smaller", [slow(32), 40])
def test_a_smaller_head_behind_a_larger_one(smaller):
    """Values of the larger head in blocks or words that the smaller one lacks do not count."""
    rng, wide, narrow = np.random.default_rng(5), SIZES(2, 2, 64), SIZES(2, 2, smaller)
    config = machine_of(wide, channels=64, rows=1)
    larger = [wide] * (pages_of(1) // wide.n_kv_heads)  # until they have filled every page
    check(config, *(case(rng, sizes, config, [(3, 1)]) for sizes in (*larger, narrow)))


def test_queries_that_a_smaller_group_lacks_do_not_count():
    """Scores of those of the larger group before it would saturate."""
    rng, wide, narrow = np.random.default_rng(6), SIZES(8, 2, 32), SIZES(6, 2, 32)
    config = machine_of(wide)
    cases = [
        case(rng, sizes, config, [(3, 1)], score=-16, spread=30000.0) for sizes in (wide, narrow)
    ]
    assert min(cases[1].lost[0]) > 0
    check(config, *cases)


# Heads, heads of keys, head_dim; W, R.
@pytest.mark.parametrize(("sizes", "channels", "rows"), [
    pytest.param(SIZES(3, 1, 16), 32, 4, id="head_dim 16, one head", marks=pytest.mark.slow),
    pytest.param(SIZES(6, 2, 64), 32, 2, id="two parts, a tile with one query less"),
    pytest.param(SIZES(2, 2, 96), 64, 1, id="a block that is not there"),
    pytest.param(SIZES(3, 3, 128), 128, 1, id="128", marks=pytest.mark.slow),
    pytest.param(SIZES(6, 2, 64), 64, 3, id="two blocks a word", marks=pytest.mark.slow),
    pytest.param(SIZES(2, 1, 256), 64, 2, id="256", marks=pytest.mark.slow),
    pytest.param(SIZES(8, 1, 40), 32, 8, id="40", marks=pytest.mark.slow),
])  # fmt: skip
def test_shapes(sizes, channels, rows):
    """With some scores that saturate; rows of the hardware without a query count none."""
    rng = np.random.default_rng(sizes.head_dim)
    config = machine_of(sizes, channels=channels, rows=rows)
    given = [(int(rng.integers(20, 50)), 1)]
    check(config, case(rng, sizes, config, given, score=-3, spread=9000.0), stalls=0.2)


@pytest.mark.parametrize(("seed", "tokens"), [(0, 2), (1, 4), slow(2, 4), slow(3, 8)])
def test_passes_of_several_tokens(seed, tokens):
    """Random slots: chunks across a page's border, sequences that begin, idle vectors."""
    rng = np.random.default_rng(seed)
    config, left, given = machine_of(SOME, tokens=tokens, rows=1 + seed % 2), tokens, []
    while left > 0:
        new = int(rng.integers(1, left + 1))
        given.append((int(rng.choice([0, 5, 28, 31, 32, 33, 62, 64])), new))
        left -= new if rng.integers(4) else tokens
    check(config, case(rng, SOME, config, given), stalls=0.2 * (seed % 3), seed=seed)


@pytest.mark.parametrize(("channels", "positions"), [
    (32, 1), slow(64, 2), slow(64, 1), slow(128, 1), slow(128, 4)
])  # fmt: skip
def test_latency_and_throughput(channels, positions):
    sizes = SIZES(2, 1, channels // positions)
    config = machine_of(sizes, channels=channels)
    rng = np.random.default_rng(0)
    got = check(config, case(rng, sizes, config, [(0, 1)]))
    latency = got.cycles["o"][0] - got.cycles["i"][-1]
    assert latency == cycles(machine(("attention",)).unit("attention").latency, config)
    pages, found = 2, []
    for count in (6, 6 + pages):
        got = check(config, case(rng, sizes, config, [(32 * count - 1, 1)]))
        found.append(got.cycles["o"][0] - got.cycles["command"][0])
    of_page = rows(config, 1 + position_words(sizes, config), 32)
    assert found[1] - found[0] == pages * of_page  # as memory is read
    assert np.diff(got.cycles["o"]).max() == 1


@pytest.mark.parametrize("positions", [2, slow(1), slow(4)])
def test_tiles_follow_each_other(positions):
    """With one query at a time, the stages bind, not the memory.

    More pages than those that are used while keys and values of the pass come.
    """
    sizes = SIZES(2 * positions, 1, 32)  # as long as the memory allows the next page
    config = machine_of(sizes, rows=1, channels=32 * positions)
    found = []
    for count in (4, 6):
        got = check(config, case(np.random.default_rng(1), sizes, config, [(32 * count - 1, 1)]))
        found.append(got.cycles["o"][0] - got.cycles["i"][-1])
    assert found[1] - found[0] == pytest.approx(2 * 2 * 32, abs=8)
