"""A file has one owner at a time, also where it is removed while others wait for it."""

import os
import signal
import subprocess
import sys
import time
from subprocess import PIPE

import pytest

from lightmamba.common.locks import held, take

HOLDS = """
import os, sys
from pathlib import Path
from lightmamba.common.locks import take

path = Path(sys.argv[1])
file = take(path, wait=True)
print(os.fstat(file).st_ino == path.stat().st_ino, flush=True)
if sys.stdin.readline() == "remove\\n":
    path.unlink()
os.close(file)
"""


def holder(path):
    return subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)], stdin=PIPE, stdout=PIPE, text=True
    )


def test_one_owner_until_it_is_killed(tmp_path):
    with holder(tmp_path / "f") as other:
        assert other.stdout.readline() == "True\n"
        with pytest.raises(BlockingIOError):
            take(tmp_path / "f")
        other.send_signal(signal.SIGKILL)
        other.wait()
        os.close(take(tmp_path / "f"))


def test_who_waited_owns_the_file_that_is_there(tmp_path):
    """The first removes the file, so the second must not keep the one it waited for."""
    path = tmp_path / "f"
    with holder(path) as first:
        assert first.stdout.readline() == "True\n"
        with holder(path) as second:
            while len(_waiting(path)) < 1:
                time.sleep(0.01)
            first.communicate("remove\n")
            assert second.stdout.readline() == "True\n"
            with pytest.raises(BlockingIOError):
                take(path)
            second.communicate("\n")
    os.close(take(path))


def _waiting(path):
    """Locks of the system that wait for a file."""
    inode = f":{path.stat().st_ino} "
    with open("/proc/locks") as locks:
        return [line for line in locks if "->" in line and inode in line]


def test_held_waits_and_leaves_nothing(tmp_path):
    with holder(tmp_path / "f") as other:
        assert other.stdout.readline() == "True\n"
        start = time.monotonic()
        other.stdin.write("\n")
        other.stdin.flush()
        with held(tmp_path / "f"), pytest.raises(BlockingIOError):
            take(tmp_path / "f")
    assert time.monotonic() - start < 10
    assert list(tmp_path.iterdir()) == []
