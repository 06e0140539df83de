"""Small builds for every board, all of one accelerator, and the packages made from them."""

from dataclasses import replace
from pathlib import Path

from lightmamba.arch.target import Target
from lightmamba.device.package import Board, Package, write_package
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.artifact import Artifact
from tests.support.builders import random_model

from ..sim.machines import CONFIG, TARGET

__all__ = ["BOARDS", "built", "packaged", "small"]

BOARDS = ("kv260", "u280", "u55c", "vck190")
# Where the two lanes lie: on the VCK190 one channel of either controller.
LANES = {"vck190": {"lpddr4-0": "lane0", "lpddr4-2": "lane1"}}


def small(board: str) -> Target:
    """The target of a board, with two lanes and the accelerator of most tests."""
    target, places = Target.load(board), LANES.get(board)
    channels = []
    for channel in target.channels:
        others = [port for port in channel.ports if not port.startswith("lane")]
        lanes = [port for port in channel.ports if port in ("lane0", "lane1")]
        if places is not None:
            lanes = [places[channel.name]] if channel.name in places else []
        if lanes or others:
            channels.append(replace(channel, ports=(*lanes, *others)))
    return replace(target, machine=TARGET.machine, channels=tuple(channels))


def built(folder: Path, board: str, seed: int = 0) -> Artifact:
    """A build of a random model for a board, without Verilog."""
    path = folder / f"build-{board}"
    build(random_model(CONFIG, seed=seed), small(board), path, force=True)
    return Artifact.read(path)


def packaged(folder: Path, board: str) -> Package:
    """Its package."""
    return write_package(
        built(folder, board), Board.load(board), folder / f"package-{board}", force=True
    )
