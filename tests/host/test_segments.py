"""Segments of a pool that sequences share."""

import numpy as np

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.place import Region
from lightmamba.arch.spread import rows, spread
from lightmamba.device.host.segments import Pool, Segments

ARCH = ArchConfig(lanes=2, port_bits=128, segment=16, context=64)  # rows of 4 words
RUNS, WORDS = 3, 9
STRIDE = rows(ARCH, WORDS, 16) * 16


def pool(segments: int = 4) -> Pool:
    regions = {
        name: Region(name, f"channel{n}", 0x10_0000 * (n + 1), segments * 4096)
        for n, name in enumerate(("kv", "kv1"))
    }
    return Pool(ARCH, regions, RUNS, STRIDE, WORDS)


def test_they_are_taken_and_given_back():
    shared = pool()
    first, second = Segments(shared), Segments(shared)
    first.fit(17)
    second.fit(16)
    assert (first.held, second.held, shared.free) == ([0, 1], [2], [3])
    assert (second.lacks(33), second.wanted(33)) == (2, 3)
    first.fit(16)
    second.fit(33)
    assert (first.held, second.held, shared.free) == ([0], [2, 1, 3], [])
    assert second.places == [2, 1, 3]
    second.fit(0)
    assert (second.held, sorted(shared.free)) == ([], [1, 2, 3])


def test_rows_of_the_first_positions_run_by_run():
    """Whole segments, then a part of the last; the same in all regions."""
    mine = Segments(pool(), [2, 0])
    used = mine.used(18)
    sizes = [rows(ARCH, WORDS, n) * 16 for n in (16, 2)]
    assert [part.bytes for part in used["kv"]] == sizes * RUNS
    assert [part.address - 0x10_0000 for part in used["kv"]] == [
        place + run * STRIDE for run in range(RUNS) for place in (8192, 0)
    ]
    assert [p.address - 0x20_0000 for p in used["kv1"]] == [
        p.address - 0x10_0000 for p in used["kv"]
    ]
    assert {name: sum(p.bytes for p in parts) for name, parts in used.items()} == mine.sizes(18)


def test_bytes_of_no_position_are_zeros():
    rng, mine = np.random.default_rng(0), Segments(pool())
    first, others = (rng.integers(1, 256, (RUNS, 18, n), np.uint8) for n in (8, 64))
    right = spread(ARCH, "kv", first, others)
    noise = {name: np.where(each == 0, 77, each).astype(np.uint8) for name, each in right.items()}
    found = mine.kept(noise, 18)
    assert found.keys() == right.keys()
    for name, values in right.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_model_without_layers_that_grow_takes_none():
    nothing = Segments(Pool(ARCH, pool().regions, 0, 0, 1))
    nothing.fit(40)
    assert (nothing.held, nothing.pool.count, sum(nothing.sizes(40).values())) == (
        [], 0, 0
    )  # fmt: skip
