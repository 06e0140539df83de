"""A small build for a ULX3S, and its package."""

from functools import partial
from pathlib import Path

from lightmamba.arch.target import Target
from lightmamba.device.package import Board, Package, write_package
from lightmamba.device.sim.device import machine_verilog
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.artifact import Artifact
from tests.support.builders import random_model

from ..sim.machines import CONFIG

__all__ = ["built", "packaged"]


def built(folder: Path, *, verilog: bool = False) -> Artifact:
    """A build of a random model for the target that is shipped."""
    text = partial(machine_verilog, observed=False) if verilog else None
    build(random_model(CONFIG), Target.load("ulx3s"), folder / "build", verilog=text)
    return Artifact.read(folder / "build")


def packaged(folder: Path, *, verilog: bool = False) -> Package:
    """Its package."""
    return write_package(
        built(folder, verilog=verilog), Board.load("ulx3s"), folder / "package-ulx3s"
    )
