"""Files on a disk that fails at any write: a model file is the old one or the new one."""

import os

import pytest

from tests.crash.disk import Mode, on_failing_disk
from tests.crash.works import cache_file, save_model
from tests.golden.tiny import FILE


@pytest.mark.parametrize("mode", Mode, ids=[mode.name.lower() for mode in Mode])
def test_the_old_one_or_the_new_one(tmp_path, mode):
    path, new, n, failed = tmp_path / "m.st", FILE.read_bytes(), 0, True
    while failed:
        n += 1
        path.write_bytes(b"old")
        outcome = on_failing_disk(tmp_path, n, mode, save_model, path)
        failed = outcome.ended or bool(outcome.said)
        assert path.read_bytes() == (b"old" if failed else new), n
        if outcome.said:
            assert outcome.said[0].endswith("No space left on device; nothing was replaced") or (
                outcome.said[0].endswith("No space left on device; choose another place")
            )
        if not outcome.ended:
            assert os.listdir(tmp_path) == ["m.st"]
        # What a killed process left is in nobody's way.
        assert not on_failing_disk(tmp_path, 0, mode, save_model, path).said
        assert path.read_bytes() == new
        assert os.listdir(tmp_path) == ["m.st"]
    assert n > 3


@pytest.mark.parametrize("n", range(1, 5))
def test_what_a_cache_has_is_whole(tmp_path, n):
    """A power cut never leaves an empty file that is taken for a simulator."""
    path = tmp_path / "x.so"
    outcome = on_failing_disk(tmp_path, n, Mode.LOSE, cache_file, path)
    assert outcome.ended == (n < 4)
    assert not path.exists() if outcome.ended else path.read_bytes() == b"whole"
