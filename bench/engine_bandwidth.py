"""Read bandwidth of this computer, measured by a small C program (``bandwidth.c``)."""

import shutil
from pathlib import Path

from lightmamba.common.tools import cache_folder, run

__all__ = ["Bandwidth"]

SOURCE = Path(__file__).with_name("bandwidth.c")
PASSES = 6


class Bandwidth:
    """The program, compiled for this machine.

    Parameters
    ----------
    cache : Path, optional
        Where it is kept.

    Raises
    ------
    InputError
        If there is no C compiler, or it fails.
    """

    def __init__(self, cache: Path | None = None) -> None:
        self.program = cache_folder("bench", cache) / "bandwidth"
        compiler = shutil.which("cc") or "gcc"
        run([compiler, "-O3", "-march=native", "-pthread", str(SOURCE), "-o", str(self.program)])

    def __call__(self, size: int, threads: int) -> float:
        """GB/s of reading ``size`` bytes again and again, the best of some passes."""
        found = run([str(self.program), str(size), str(threads), str(PASSES)])
        return max(float(line) for line in found.split())
