"""The compiled code with sanitizers, and the program that replays recorded calls."""

import os
import runpy
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lightmamba.native.isas import isas

__all__ = ["ADDRESSES", "RACES", "Plant", "kernels", "replay", "replayed"]

ROOT = Path(__file__).parents[2]
NATIVE = Path("lightmamba/native")
SOURCES = ("kernels", "pool", "api", "events")
FLAGS = ("-std=c++20", "-O1", "-g", "-fno-omit-frame-pointer", "-fno-strict-aliasing", "-w")
# -fwrapv is part of the arithmetic, as in setup.py.
ADDRESSES = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fwrapv")
RACES = ("-fsanitize=thread", "-fwrapv")
COMPILER = "c++"  # as of setup.py
# GCC 12 aligns its stand-in for the stack to 32 bytes, and vectors of 64 on it are a fault.
OPTIONS = {"ASAN_OPTIONS": "detect_stack_use_after_return=0"}


class Plant(NamedTuple):
    """A fault: a piece of a file of ``lightmamba`` that is there once, and other code for it."""

    file: str
    before: str
    after: str


def kernels(
    folder: Path, sanitizers: tuple[str, ...], isa: str = "portable",
    plant: Plant | None = None,
) -> Path:  # fmt: skip
    """Build the library of an instruction set, with a fault if one is given.

    Parameters
    ----------
    folder
        Where to.
    sanitizers
        Flags.
    isa
        One of isas.py.
    plant
        The fault.
    """
    source = ROOT / "src"
    if plant is not None:
        source = folder / "src"
        for path in (ROOT / "src/lightmamba").rglob("*.?pp"):
            copy = source / path.relative_to(ROOT / "src")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
        file = source / "lightmamba" / plant.file
        text = file.read_text()
        assert text.count(plant.before) == 1, f"{plant.before}: {text.count(plant.before)} times"
        file.write_text(text.replace(plant.before, plant.after))
    made = folder / "made"
    made.mkdir(parents=True, exist_ok=True)
    for name, text in runpy.run_path(str(ROOT / "src" / NATIVE / "found.py"))["headers"]().items():
        (made / name).write_text(text)
    flags = (*FLAGS, *sanitizers, *isas()[isa], "-fPIC", f"-I{source}", f"-I{made}")
    objects = [folder / f"{name}.o" for name in SOURCES]

    def compiled(name: str) -> None:
        _run(
            COMPILER,
            *flags,
            "-c",
            str(source / NATIVE / f"{name}.cpp"),
            "-o",
            str(folder / f"{name}.o"),
        )

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compiled, SOURCES))
    library = folder / "kernels.so"
    _run(COMPILER, *flags, "-shared", *map(str, objects), "-o", str(library), "-pthread")
    return library


def replay(folder: Path, sanitizers: tuple[str, ...], compiler: str = COMPILER) -> Path:
    """Build the program, with the compiler of the library that it is for."""
    program = folder / "replay"
    source = Path(__file__).with_name("replay.cpp")
    _run(compiler, *FLAGS, *sanitizers, str(source), "-o", str(program), "-ldl", "-pthread")
    return program


def replayed(program: Path, library: Path, recording: Path) -> tuple[int, str]:
    """Status of a replay, and what it said."""
    command = [str(program), str(library), str(recording)]
    environment = os.environ | OPTIONS
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    return found.returncode, found.stdout + found.stderr


def _run(*words: str) -> None:
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
