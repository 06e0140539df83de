"""Profiles of hypothesis, the cache of this checkout, the cost of tests: for every test."""

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.support.guard import Guard

# Simulators take minutes to build, so they stay from run to run, but never in the user's cache. It
# is set before the package is imported, which chooses the folder of its kernels then.
# The tools of synthesis that come as WebAssembly keep what they compile once where they always do.
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
os.environ.setdefault("YOWASP_CACHE_DIR", str(HOME / "YoWASP"))
CACHE = os.environ.get("LIGHTMAMBA_TEST_CACHE") or str(Path(__file__).parents[1] / ".test_cache")
os.environ["XDG_CACHE_HOME"] = CACHE

# Amaranth makes millions of small objects that live as long as a test: garbage is rarely sought.
gc.set_threshold(100_000, 20, 100)

settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=30, phases=[Phase.explicit, Phase.generate]
)
settings.register_profile("dev", deadline=None, max_examples=30)
settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which CI runs the tests."""
    text = "fail if tests take too long, or are skipped for a reason that pyproject.toml lacks"
    parser.addoption("--guard", action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Count what tests cost."""
    config.pluginmanager.register(Guard(config.getoption("--guard")))


def pytest_collection_finish() -> None:
    """Exclude collected modules from garbage collection."""
    gc.freeze()


def pytest_runtest_setup() -> None:
    """Set torch back to one thread: the number that an earlier command chose would persist.

    Two workers with two threads each on two cores wait for each other, six times as long.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
