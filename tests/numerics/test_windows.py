"""Window hashes: the bytes, the positions, and what is found again."""

import struct
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lightmamba.numerics.windows import WINDOW, hash_windows, window_hashes

IDS = np.random.default_rng(0).integers(0, 50_000, 1000)


def by_hand(ids):
    packed = struct.pack("<32I", *ids)
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "little")


def test_worked_value():
    """The hash of 0, 1, …, 31; a file keeps these, so the number may never change."""
    assert_array_equal(hash_windows(np.arange(32), [0]), np.array([598692272594970376], np.uint64))


def test_hashes_come_in_the_order_of_the_starts():
    got = hash_windows(IDS.astype(np.int32), [5, 0, 968])
    assert_array_equal(got, [by_hand(IDS[5:37]), by_hand(IDS[:32]), by_hand(IDS[968:])])


def test_a_text_keeps_every_window_and_its_end():
    got = window_hashes(IDS[:100])
    want = sorted(by_hand(IDS[start : start + 32]) for start in (0, 32, 64, 68))
    assert_array_equal(got, np.array(want, np.uint64))
    assert got.dtype == np.uint64


def test_rows_are_hashed_apart_and_each_hash_is_kept_once():
    rows = np.stack([IDS[:48], IDS[48:96], IDS[:48]])
    want = np.union1d(window_hashes(IDS[:48]), window_hashes(IDS[48:96]))
    assert_array_equal(window_hashes(rows), want)


@given(start=st.integers(0, 1000 - 63), before=st.integers(0, 40))
def test_a_copied_run_of_63_is_always_found(start, before):
    text = np.concatenate([np.full(before, 7), IDS[start : start + 63]])
    found = hash_windows(text, range(len(text) - WINDOW + 1))
    assert np.isin(found, window_hashes(IDS)).any()


@pytest.mark.parametrize("shape", [(0,), (31,), (3, 31), (0, 40), (3, 0)])
def test_short_texts_have_no_windows(shape):
    hashes = window_hashes(np.zeros(shape, np.int64))
    assert hashes.shape == (0,)
    assert hashes.dtype == np.uint64


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="ids must be integers"):
        window_hashes(np.zeros(40))
    with pytest.raises(ValueError, match=r"ids must be in 0..2\*\*32 - 1"):
        window_hashes(np.full(40, -1))
    with pytest.raises(ValueError, match="one sequence or rows of them"):
        window_hashes(np.zeros((2, 2, 40), np.int64))
    with pytest.raises(ValueError, match="no window of 32 ids begins at 9 of 40"):
        hash_windows(np.zeros(40, np.int64), [9])
