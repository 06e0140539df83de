"""A file that was found right is remembered until it changes; folders are replaced whole."""

import os
import shutil
import time
from pathlib import Path

import pytest

from lightmamba.common import files
from lightmamba.common.files import intact, interrupted, replace_folder, sha256_of


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A file that changed an hour ago as far as the clock says, its hash, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    monkeypatch.setattr(time, "time_ns", lambda: path.stat().st_ctime_ns + 3600 * 10**9)
    return path, sha256_of(path)


class Counting:
    """A hash that counts how often it is taken."""

    def __init__(self):
        self.calls = 0

    def __call__(self, path):
        self.calls += 1
        return sha256_of(path)


def test_a_file_is_hashed_once(kept):
    path, right = kept
    count = Counting()
    assert [intact(path, right, count) for _ in range(3)] == [True] * 3
    assert count.calls == 1
    assert intact(path, right, count, again=True)
    assert count.calls == 2
    assert not intact(path, "0" * 64, count)


def test_a_change_with_the_old_size_and_time_is_found(kept):
    path, right = kept
    assert intact(path, right)
    times = path.stat()
    path.write_bytes(b"abd")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not intact(path, right)


def test_a_file_that_was_just_written_is_hashed_again(kept, monkeypatch):
    """Within a tick of the clock it may change once more without another time."""
    path, right = kept
    monkeypatch.setattr(time, "time_ns", lambda: path.stat().st_ctime_ns + 10**8)
    count = Counting()
    assert [intact(path, right, count) for _ in range(2)] == [True] * 2
    assert count.calls == 2


def test_damage_below_the_file_system_is_found_again(kept, monkeypatch):
    """A bit that the disk lost changes no time: found after a month, or when asked for."""
    path, right = kept
    assert intact(path, right)

    def lost(_):
        return "f" * 64

    assert intact(path, right, lost)
    (mark,) = (path.parent / "cache/lightmamba/checked").iterdir()
    month = time.time() - files.REMEMBERED - 10
    os.utime(mark, (month, month))
    assert not intact(path, right, lost)
    assert intact(path, right)
    assert not intact(path, right, lost, again=True)
    assert not intact(path, right, lost)


def test_old_marks_are_deleted(kept):
    path, right = kept
    folder = path.parent / "cache/lightmamba/checked"
    folder.mkdir(parents=True)
    (folder / "old").touch()
    os.utime(folder / "old", (0, 0))
    (folder / "young").touch()
    assert intact(path, right)
    assert (folder / "young").exists()
    assert not (folder / "old").exists()


def folder(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_or_a_link_is_replaced(tmp_path, monkeypatch, exchanges):
    """The folder that a link leads to stays."""
    if not exchanges:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    replace_folder(folder(tmp_path / "aside", "1"), tmp_path / "b")
    assert (tmp_path / "b/file").read_text() == "1"
    replace_folder(folder(tmp_path / "aside", "2"), tmp_path / "b")
    assert (tmp_path / "b/file").read_text() == "2"
    (tmp_path / "link").symlink_to(tmp_path / "b")
    replace_folder(folder(tmp_path / "aside", "3"), tmp_path / "link")
    assert [(tmp_path / name / "file").read_text() for name in ("b", "link")] == ["2", "3"]
    assert sorted(os.listdir(tmp_path)) == ["b", "link"]


def test_there_is_a_whole_folder_at_every_moment(tmp_path, monkeypatch):
    """Killed while the old one is deleted: the new one is there."""
    folder(tmp_path / "b", "1")

    def killed(_):
        raise SystemExit

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(SystemExit):
        replace_folder(folder(tmp_path / "aside", "2"), tmp_path / "b")
    assert (tmp_path / "b/file").read_text() == "2"
    assert (tmp_path / "aside/file").read_text() == "1"


def test_a_rename_that_fails_leaves_the_old_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    folder(tmp_path / "b", "1")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "none", tmp_path / "b")
    assert (tmp_path / "b/file").read_text() == "1"
    assert os.listdir(tmp_path) == ["b"]


def test_an_interrupted_replacement_is_named(tmp_path, monkeypatch):
    """Without an exchange in one step, killed between the two renames."""
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    folder(tmp_path / "b", "1")
    assert interrupted(tmp_path / "b") == ""
    aside = folder(tmp_path / "aside", "2")
    replace = type(aside).replace

    def killed(self, target):
        if self == aside:
            raise SystemExit
        return replace(self, target)

    monkeypatch.setattr(type(aside), "replace", killed)
    with pytest.raises(SystemExit):
        replace_folder(aside, tmp_path / "b")
    said = interrupted(tmp_path / "b")
    assert "; replacing it was interrupted, and the folder from before is " in said
    assert (Path(said.rpartition(" is ")[2]) / "file").read_text() == "1"
