"""Memories, and the primitives that they become."""

import pytest

from lightmamba.arch.amount import Amount, memory_cells


@pytest.mark.parametrize(
    ("depth", "width", "amount"),
    [
        (32, 14, Amount(lut=8, ff=14)),
        (33, 14, Amount(lut=16, ff=14)),
        (64, 8, Amount(lut=16, ff=8)),
        (65, 36, Amount(bram18=1)),
        (512, 512, Amount(bram18=15)),
        (513, 36, Amount(bram18=2)),
        (1024, 18, Amount(bram18=1)),
        (2048, 9, Amount(bram18=1)),
        (16384, 1, Amount(bram18=1)),
        (2047, 72, Amount(bram18=8)),
        (4096, 72, Amount(uram=1)),
        (4097, 73, Amount(uram=4)),
        (3040, 32, Amount(bram18=6)),
    ],
)
def test_cells(depth, width, amount):
    assert memory_cells(depth, width) == amount


@pytest.mark.parametrize("depth", [20, 512, 4096])
def test_every_read_port_has_a_copy(depth):
    assert memory_cells(depth, 72, reads=2) == memory_cells(depth, 72).times(2)
