"""Records of a pass, taken apart without hardware."""

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.records import Record
from lightmamba.blocks.mamba2.observed import updates_of
from lightmamba.blocks.mamba2.quantized import Sizes
from lightmamba.hardware.machine.probes import probes

LAYERS, HEADS, STEPS, ROWS, STATE = 2, 3, 2, 4, 128


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512])
def test_updates_are_cut_to_a_row_at_most(size):
    """Every update keeps its elements, and each part its exponents and its cycle."""
    arch = ArchConfig(tokens=2, state_elements=size, padded_state=STATE, head_rows=ROWS)
    (probe,) = (p for p in probes(arch) if p.name == "updates")
    names = probe.dtype.names or ()
    words = ROWS * STATE // size
    shape = (LAYERS, HEADS, STEPS, words)
    seen = Record(np.zeros(np.prod(shape), probe.dtype), np.arange(np.prod(shape), dtype=np.uint64))
    rng = np.random.default_rng(size)
    for name in names:
        kind = seen.records[name].dtype
        seen.records[name] = rng.integers(-5, 5, seen.records[name].shape).astype(kind)
    found = updates_of(seen, [Sizes(HEADS, ROWS, STATE)] * LAYERS, STEPS, arch)
    assert len(found) == STEPS
    for step, mine in enumerate(found):
        assert len(mine.cycles) == LAYERS * HEADS * ROWS * STATE // min(size, STATE)
        cycles = seen.cycles.reshape(shape)[:, :, step]
        assert np.array_equal(np.unique(mine.cycles), np.unique(cycles))
        for name in names:
            values = seen.records[name].reshape(LAYERS, HEADS, STEPS, words, -1)[:, :, step]
            assert np.array_equal(mine.records[name].ravel(), values.ravel())
