"""How much of a text was calibrated on."""

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.evaluate import check_overlap, contamination, overlap
from lightmamba.numerics.windows import WINDOW, hash_windows, window_hashes

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


@pytest.mark.parametrize("part", [1, 7, 500, 1 << 20])
def test_hashes_are_held_in_parts(part, monkeypatch):
    """Each token counts once, whichever windows it lies in and wherever the parts meet."""
    text = random_ids(1, 1500, 2000)
    for start, length in ((100, 40), (130, 300), (700, 32), (1400, 100)):
        text[start : start + length] = CALIBRATION[:length]
    everything = hash_windows(CALIBRATION, range(len(CALIBRATION) - WINDOW + 1))
    found = np.isin(hash_windows(text, range(len(text) - WINDOW + 1)), everything)
    covered = np.zeros(len(text), bool)
    for start in np.flatnonzero(found).tolist():
        covered[start : start + WINDOW] = True
    monkeypatch.setattr(contamination, "PART", part)
    assert 400 < covered.sum() < 500
    assert overlap(text, everything) == covered.mean()


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
