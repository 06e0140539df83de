"""Programs beside the interpreter, and the folders of what they made."""

import os
import sys
from pathlib import Path

import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.tools import cache_folder, run


def test_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("simulators") == tmp_path / "lightmamba" / "simulators"
    assert cache_folder("simulators", tmp_path / "other") == tmp_path / "other"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make the cache folder"):
        cache_folder("simulators", tmp_path / "file")


def test_the_tests_leave_the_cache_of_the_user_alone():
    mine = Path(os.environ["XDG_CACHE_HOME"])
    assert mine != Path.home() / ".cache"
    assert cache_folder("simulators").is_relative_to(mine)


def test_a_temporary_cache_is_one_per_process_and_goes_with_it(tmp_path):
    (tmp_path / "file").touch()
    code = (
        "from lightmamba.common.tools import cache_folder as c; a, b = c('x'), c('x'); "
        "assert a == b and a.is_dir(); print(a)"
    )
    folder = Path(run([sys.executable, "-c", code], {"XDG_CACHE_HOME": str(tmp_path / "file")}))
    assert folder.name.startswith("lightmamba-x-")
    assert not Path(str(folder).strip()).exists()


def test_run_says_the_first_complaint(tmp_path):
    assert run([sys.executable, "-c", "print(1)"]) == "1\n"
    code = "import os, sys; sys.exit(f'fine\\nError: {os.getcwd()}')"
    with pytest.raises(InputError, match=f"failed with status 1: Error: {tmp_path}$"):
        run([sys.executable, "-c", code], folder=tmp_path)


def test_run_names_the_signal_that_killed_a_program():
    with pytest.raises(InputError, match="sh was killed by signal 9, as a system does that runs"):
        run(["sh", "-c", "kill -9 $$"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_run_ends_what_computes_for_too_long():
    words = r"^python\S* was stopped: it took more than 1 s of processor time$"
    with pytest.raises(InputError, match=words):
        run([sys.executable, "-c", "while True: pass"], limit_s=1)
    assert run([sys.executable, "-c", "import time; time.sleep(1.5); print(2)"], limit_s=1) == "2\n"
