"""Packages of hybrids: the ports that write new keys and values."""

import pytest

from lightmamba.arch.target import Target
from lightmamba.device.package import Board
from lightmamba.device.package.design import design
from lightmamba.device.package.noc import network
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.data import hybrid_file
from lightmamba.model.qmodel import load

BOARDS = {"u280": 32, "vck190": 4, "kv260": 4}  # lanes that hold keys and values


def designed(name, folder):
    """Design of the bundled hybrid on a board."""
    build(load(hybrid_file()), Target.load(name), folder)
    return design(Artifact.read(folder), Board.load(name))


@pytest.fixture(scope="module", params=BOARDS)
def made(request, tmp_path_factory):
    return designed(request.param, tmp_path_factory.mktemp("hybrid") / "build")


def test_lanes_write_to_their_own_channels(made):
    lanes = [one for one in made.interfaces if one.name.startswith("lane")]
    holds = BOARDS[made.board.name]
    assert [one.mode for one in lanes] == ["READ_WRITE" if n < holds else "READ_ONLY"
                                           for n in range(len(lanes))]  # fmt: skip
    regions = {region.name: region.channel for region in made.artifact.regions}
    for n, one in enumerate(lanes[:holds]):
        assert one.channels == (regions[f"kv{n or ''}"],) == (regions[f"lane{n}"],)


def test_their_addresses_belong_to_their_interfaces(made):
    buses = {e.name: e.bus for e in made.entries if e.name.startswith("kv_base")}
    assert list(buses.values()) == [f"m_axi_lane{n}" for n in range(BOARDS[made.board.name])]


def test_a_network_on_chip_expects_few_writes(tmp_path):
    made = designed("vck190", tmp_path / "build")
    links = [e for e in network(made) if e.source and e.source.name.startswith("lane")]
    assert sorted(link.write_mb for link in links) == [0, 10, 10, 10, 10]
    assert min(link.read_mb for link in links) > 10_000
