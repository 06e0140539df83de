"""The guard of what tests cost fails a run, with workers of xdist too."""

import subprocess
import sys

import pytest

from tests.docs.pages import ROOT
from tests.support.guard import Limits

CONFTEST = """
from tests.support import guard

guard.factor = lambda: 1.0
limits = guard.Limits(budget=2.0, longest=0.7, memory_gb=99, skipped={"no fish": "a reason"})
guard.Limits.read = staticmethod(lambda: limits)

def pytest_configure(config):
    config.pluginmanager.register(guard.Guard(True))
"""
FINE = """
import time

import pytest

def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

@pytest.mark.slow
def test_slow():
    spin(1.0)

def test_known_skip():
    pytest.skip("here is no fish")

@pytest.mark.xfail
def test_that_fails_as_expected():
    assert False
"""
FAULTS = """
@pytest.fixture
def made():
    spin(1.0)

def test_long_fixture(made):
    pass

@pytest.mark.parametrize("n", range(2))
def test_many(n):
    spin(0.6)

def test_skip():
    pytest.skip("no tool")
"""
SKIPPED = "import pytest\npytest.skip('no tool', allow_module_level=True)\n"


@pytest.mark.parametrize(("workers", "faults"), [(2, True), (0, False)])
def test_a_run(tmp_path, workers, faults):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    (tmp_path / "test_it.py").write_text(FINE + FAULTS * faults)
    if faults:
        (tmp_path / "test_other.py").write_text(SKIPPED)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "xdist.plugin", "-n", str(workers)]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    lines = sorted(line for line in done.stdout.splitlines() if line.startswith("guard: "))
    wanted = faults * [
        "guard: all take ",
        "guard: test_it.py::test_long_fixture takes 1 s, more than 1: ",
        "guard: test_it.py::test_skip was skipped, ",
        "guard: test_other.py was skipped, ",
    ]
    assert [line[: len(start)] for line, start in zip(lines, wanted, strict=True)] == wanted
    assert done.returncode == int(faults), done.stdout


def test_the_limits_of_the_project():
    limits = Limits.read()
    assert 0 < limits.longest <= 15
    assert all(len(why.split()) > 3 for why in limits.skipped.values())
