"""How much of a text was calibrated on."""

import numpy as np
import pytest

from lightmamba.errors import InputError
from lightmamba.evaluate import check_overlap, overlap
from lightmamba.numerics.windows import WINDOW, window_hashes

from .fakes import random_ids

CALIBRATION = random_ids(0, 4000, 2000)
HASHES = window_hashes(CALIBRATION)


def test_the_calibration_text_itself_and_another():
    assert overlap(CALIBRATION, HASHES) == 1
    assert overlap(random_ids(1, 4000, 2000), HASHES) == 0


@pytest.mark.parametrize("shift", [1, 17, 31])
def test_a_copied_passage_counts_by_its_tokens(shift):
    """1,000 tokens copied out of 4,000; up to a window less one is not seen at either end."""
    text = random_ids(1, 4000, 2000)
    text[500:1500] = CALIBRATION[shift : shift + 1000]
    share = overlap(text, HASHES)
    assert (1000 - 2 * (WINDOW - 1)) / 4000 <= share <= 1000 / 4000


def test_short_texts_cannot_tell():
    assert overlap(CALIBRATION[: WINDOW - 1], HASHES) == 0
    assert overlap(CALIBRATION[:WINDOW], HASHES) == 1
    assert overlap(CALIBRATION, np.empty(0, np.uint64)) == 0


def test_more_than_one_percent_is_refused():
    text = random_ids(1, 32 * 200, 2000)
    text[:64] = CALIBRATION[:64]
    assert check_overlap(text, HASHES) == 0.01
    text[64:96] = CALIBRATION[64:96]
    with pytest.raises(InputError, match=r"1.5% of the evaluated text .* --allow-overlap"):
        check_overlap(text, HASHES)
    assert check_overlap(text, HASHES, allow=True) == 0.015
