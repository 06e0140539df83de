"""Profiles of hypothesis, the cache of this checkout, the order of modules: for every test."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import Phase, settings

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

# Modules that take long, a simulator to build first of all, begin first: else a worker would do the
# last of them alone. Those that want the same simulator are apart, or one would wait for the other.
FIRST = (
    "sim/test_passes.py", "cli/test_simulate.py", "serve/test_device.py", "rtl/test_ssm.py",
    "boards/test_selftest.py", "sim/test_speculation.py",
    "estimate/test_model.py", "rtl/test_top.py", "rtl/test_lanes.py",
    "sim/test_machine.py", "rtl/test_conv.py", "package/test_package.py", "docs/test_commands.py",
    "quantization/test_journal.py", "sweep/test_killed.py", "synth/test_xcup.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules of ``FIRST`` first, in its order."""
    here, order = Path(__file__).parent, {name: n for n, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(here).as_posix(), len(order)))
