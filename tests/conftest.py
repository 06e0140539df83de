"""Profiles of hypothesis, and a cache of this checkout: shared by every test."""

import os
from pathlib import Path

from hypothesis import Phase, settings

# Simulators take minutes to build, so they stay from run to run, but never in the user's cache. It
# is set before the package is imported, which chooses the folder of its kernels then.
# The tools of synthesis that come as WebAssembly keep what they compile once where they always do.
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
os.environ.setdefault("YOWASP_CACHE_DIR", str(HOME / "YoWASP"))
CACHE = os.environ.get("LIGHTMAMBA_TEST_CACHE") or str(Path(__file__).parents[1] / ".test_cache")
os.environ["XDG_CACHE_HOME"] = CACHE

settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=30, phases=[Phase.explicit, Phase.generate]
)
settings.register_profile("dev", deadline=None, max_examples=30)
settings.load_profile("ci")
