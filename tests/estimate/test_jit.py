"""Compiled kernels are kept where the user wants caches, and numba stays as it was set."""

import os
import sys
import time

from lightmamba.tools import run

OLD, YOUNG = "0" * 16, "f" * 16  # names as those of our folders
SCRIPT = """
import numba
from numba import config
before = config.CACHE_DIR
from lightmamba.estimate.jit import kernel

@kernel
def ours(x):
    return x + 1

@numba.njit(cache=True)
def theirs(x):
    return x + 2

assert config.CACHE_DIR == before
print(ours(1), theirs(1))
"""


def test_only_our_kernels_lie_in_our_cache(tmp_path):
    cache, kernels = tmp_path / "cache", tmp_path / "cache" / "lightmamba" / "kernels"
    for name, days in ((OLD, 40), (YOUNG, 20)):
        (kernels / name).mkdir(parents=True)
        then = time.time() - days * 24 * 3600
        os.utime(kernels / name, (then, then))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    home = {"XDG_CACHE_HOME": str(cache), "HOME": str(tmp_path / "home")}
    assert run([sys.executable, str(script)], home) == "2 3\n"
    assert not (tmp_path / "home").exists()
    kept = {path.name for path in kernels.iterdir()}
    assert YOUNG in kept
    assert OLD not in kept
    (mine,) = kept - {YOUNG}
    found = [path.name for path in (kernels / mine).rglob("*.nbi")]
    assert len(found) == 1
    assert "ours" in found[0]
    assert any("theirs" in path.name for path in (tmp_path / "__pycache__").iterdir())
