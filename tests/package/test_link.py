"""Connectivity of the kernels: banks and their sizes."""

from dataclasses import replace

import pytest

from lightmamba.arch.target import Target
from lightmamba.device.package import Board
from lightmamba.device.package.design import design
from lightmamba.hardware.compiler import build
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.compiler.plan import plan
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.config import SHAPES, mamba2_config
from lightmamba.numerics.model_formats import Formats
from tests.support.builders import random_model


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("u280", ["DDR[0:1]", "DDR[0]"]),
        ("u280-t4", ["DDR[0:1]", "DDR[0]"]),
        ("u55c", ["HBM[29:30]", "HBM[31]"]),
        (
            "u280-batch4",
            ["HBM[24:25]", *(f"HBM[{n}:{n + 1}]" for n in (26, 26, 28, 28, 30, 30)), "DDR[0]"],
        ),
    ],
)
def test_the_whole_board(tmp_path, name, state):
    """All lanes of the shipped target, with regions as large as those of the largest model."""
    target = Target.load(name)
    model = random_model(mamba2_config(d_model=128, n_layer=1, vocab_size=64, headdim=64))
    build(model, target, tmp_path / "b")
    made = design(Artifact.read(tmp_path / "b"), Board.load(name.partition("-")[0]))
    banks = [made.banks(one) for one in made.interfaces]
    assert banks[: target.machine.lanes] == [f"HBM[{n}]" for n in range(target.machine.lanes)]
    assert banks[target.machine.lanes :] == state


def test_the_largest_model_fits(tmp_path):
    """Regions of Mamba2-2.7B on every bank, by the compiler's own sizes."""
    config = SHAPES["mamba2-2.7b"]
    for name in ("u280", "u55c"):
        target, board = Target.load(name), Board.load(name)
        arch = plan(config, Formats(), target)
        regions = Memory(config, Formats(), arch, target).regions()
        for region in regions:
            memory = board.memory(region.channel)
            assert memory is not None
            assert region.address + region.bytes <= memory.largest


def test_banks_that_are_no_range(packages, tmp_path):
    board = Board.load("u280")
    moved = tuple(replace(m, tag="DDR[3]") if m.channel == "ddr4-1" else m for m in board.memories)
    artifact = Artifact.read(packages["u280"].path / "data")
    made = design(artifact, replace(board, memories=moved))
    with pytest.raises(ValueError, match=r"m_axi_state is on DDR\[0\], DDR\[3\]"):
        made.banks(made.interfaces[-2])
