"""Numbers of the spine that follow from the lanes and the sizes of a model."""

import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.spine import rows_per_cycle


@pytest.mark.parametrize(
    ("lanes", "channels", "rows"),
    [
        (1, 128, 1),  # one lane
        (2, 128, 2),  # two rows every four cycles
        (2, 160, 1),  # two rows every five cycles
        (32, 768, 2),
    ],
)
def test_rows_of_a_cycle(lanes, channels, rows):
    assert rows_per_cycle(ArchConfig(lanes=lanes, in_channels=channels)) == rows
