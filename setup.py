"""The compiled kernels of the engine, and the tag of the wheel that holds them.

The same sources are compiled once per instruction set, and the best one is chosen at run time. A
library that cannot be built (no compiler, another processor) is left out, and the engine says so.
The libraries are opened by ctypes and use nothing of Python, so their names and the wheel name no
version of it.
"""

import os
import runpy
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FOLDER, MADE = "src/lightmamba/native", ".build/native"
HEADERS = runpy.run_path(f"{FOLDER}/found.py")["headers"]()  # kinds of mixers, by their folders
FLAGS = ["-std=c++20", "-O3", "-fwrapv", "-fno-strict-aliasing", "-Wno-psabi", "-g0"]
# A build for another processor than this one's names it: LIGHTMAMBA_MACHINE=aarch64.
MACHINE = os.environ.get("LIGHTMAMBA_MACHINE")
ISAS = runpy.run_path(f"{FOLDER}/isas.py")["isas"](MACHINE)


class Libraries(build_ext):
    """Libraries with plain names: not modules of one version of Python."""

    def run(self) -> None:
        """Write the headers that name the kinds of mixers, where they changed, then build."""
        Path(MADE).mkdir(parents=True, exist_ok=True)
        for name, text in HEADERS.items():
            path = Path(MADE, name)
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
        super().run()

    def get_ext_filename(self, fullname: str) -> str:
        """Path of a library by its dotted name."""
        return str(Path(*fullname.split(".")).with_suffix(".so"))


class Wheel(bdist_wheel):
    """A wheel for one platform and any Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """Tags of Python, ABI and platform."""
        return "py3", "none", super().get_tag()[2]


setup(
    cmdclass={"build_ext": Libraries, "bdist_wheel": Wheel},
    options={"build": {"build_base": ".build"}},  # so that pip leaves no `build` in a clone
    ext_modules=[
        Extension(
            f"lightmamba.native._{isa}",
            sources=[f"{FOLDER}/{name}.cpp" for name in ("kernels", "pool", "api", "events")],
            include_dirs=["src", MADE],
            depends=[
                *sorted(glob(f"{FOLDER}/*.hpp") + glob("src/lightmamba/blocks/*/*.hpp")),
                *(f"{MADE}/{name}" for name in HEADERS),
            ],
            extra_compile_args=[*FLAGS, *flags],
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,
        )
        for isa, flags in ISAS.items()
    ],
)
