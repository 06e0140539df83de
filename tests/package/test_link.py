"""Connectivity of the kernels: interfaces, banks and their sizes."""

import configparser
import json
import re
from collections import Counter

import pytest

from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.device.package import Board
from lightmamba.device.package.design import design
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.config import SHAPES, mamba2_config
from tests.support.builders import random_model

from .boards import small

BANK = re.compile(r"(HBM|DDR)\[(\d+)(?::(\d+))?\]")
SIZES = {"u280": {"HBM": 256 << 20, "DDR": 16 << 30}, "u55c": {"HBM": 512 << 20}}
COUNTS = {"u280": {"HBM": 32, "DDR": 2}, "u55c": {"HBM": 32}}
MOST = 15  # interfaces on one bank


def bank(name: str) -> tuple[str, int, int]:
    """Kind, first and last number of a bank, or of a range of them."""
    found = BANK.fullmatch(name)
    assert found is not None, name
    return found[1], int(found[2]), int(found[3] or found[2])


def mapping(text: str) -> dict[str, list[tuple[str, int]]]:
    """Banks of each interface, from the linker's configuration."""
    parser = configparser.ConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.read_string(text)
    assert set(parser.sections()) == {"connectivity", "vivado"}
    assert parser["connectivity"]["nk"] == "lightmamba:1:lightmamba_1"
    found = {}
    for line in re.findall(r"^sp=(.+)$", text, re.MULTILINE):
        kernel, where = line.split(":", 1)
        instance, bus = kernel.split(".")
        assert instance == "lightmamba_1"
        kind, first, last = bank(where)
        assert bus not in found, "an interface is mapped twice"
        found[bus] = [(kind, n) for n in range(first, last + 1)]
    return found


@pytest.mark.parametrize("board", SIZES)
def test_every_interface_is_mapped(packages, board):
    folder = packages[board].path
    found = mapping((folder / "link.cfg").read_text())
    masters = set(re.findall(r"\b(m_axi_\w+)_arvalid\b", (folder / "rtl/wrapper.v").read_text()))
    assert set(found) == masters
    on = Counter(bank for banks in found.values() for bank in banks)
    assert max(on.values()) <= MOST
    for kind, n in on:
        assert n < COUNTS[board][kind]
    said = json.loads((folder / "map.json").read_text())
    for channel in said["channels"]:
        kind, n, _ = bank(channel["memory"])
        assert channel["bytes"] <= SIZES[board][kind]
        assert all((kind, n) in found[bus] for bus in channel["interfaces"])
        if number := re.fullmatch(r"hbm(\d+)", channel["name"]):
            assert (kind, n) == ("HBM", int(number[1]))
    assert len(found["m_axi_state"]) == 2
    assert all(len(banks) == 1 for bus, banks in found.items() if bus != "m_axi_state")


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
    from lightmamba.hardware.compiler.memory import Memory
    from lightmamba.hardware.compiler.plan import plan
    from lightmamba.numerics.model_formats import Formats

    config = SHAPES["mamba2-2.7b"]
    for name in SIZES:
        target, board = Target.load(name), Board.load(name)
        arch = plan(config, Formats(), target)
        regions = Memory(config, Formats(), arch, target).regions()
        for region in regions:
            memory = board.memory(region.channel)
            assert memory is not None
            assert region.address + region.bytes <= memory.largest


def test_banks_that_are_no_range(packages, tmp_path):
    from dataclasses import replace

    board = Board.load("u280")
    moved = tuple(replace(m, tag="DDR[3]") if m.channel == "ddr4-1" else m for m in board.memories)
    artifact = Artifact.read(packages["u280"].path / "data")
    made = design(artifact, replace(board, memories=moved))
    with pytest.raises(ValueError, match=r"m_axi_state is on DDR\[0\], DDR\[3\]"):
        made.banks(made.interfaces[-2])


def test_a_block_larger_than_its_bank(packages):
    from dataclasses import replace

    board = Board.load("u280")
    shrunk = tuple(
        replace(m, windows=tuple(replace(w, bytes=4096) for w in m.windows)) for m in board.memories
    )
    artifact = Artifact.read(packages["u280"].path / "data")
    with pytest.raises(InputError, match=r"channel hbm0 holds 0 MiB, but .* compile a smaller"):
        design(artifact, replace(board, memories=shrunk))
    assert small("u280").name == "u280"
