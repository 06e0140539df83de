"""The package for a ULX3S: contents, the same bytes again, checks, refusals, pins, tools."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.device.package import Board, Package, write_package
from lightmamba.device.package.check import CHECKS, MANIFEST, PLACE, check
from lightmamba.device.package.design import design
from lightmamba.device.package.ecp5 import identity
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.soc.board import RESETS, TOP
from lightmamba.hardware.soc.ulx3s import LINES, to_verilog
from lightmamba.hardware.synth.board import Flow
from lightmamba.hardware.synth.edit import FILES
from lightmamba.hardware.synth.tools import NEEDED
from tests.support.builders import random_model

from ..sim.machines import CONFIG
from .simulated import packaged_design
from .ulx3s import packaged

BOARDS = resources.files("lightmamba.device.package") / "boards"
OURS = {  # ports of the top module by the names of amaranth-boards: resource, then its subsignals
    "clk_25mhz": ("clk25",), "ftdi_txd": ("uart", "rx"), "ftdi_rxd": ("uart", "tx"),
    "sdram_clk": ("sdram", "clk"), "sdram_cke": ("sdram", "clk_en"), "sdram_csn": ("sdram", "cs"),
    "sdram_rasn": ("sdram", "ras"), "sdram_casn": ("sdram", "cas"), "sdram_wen": ("sdram", "we"),
    "sdram_ba": ("sdram", "ba"), "sdram_a": ("sdram", "a"), "sdram_d": ("sdram", "dq"),
    "sdram_dqm": ("sdram", "dqm"), "wifi_en": ("esp32", "en"), "led": ("led",),
}  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Package:
    return packaged(tmp_path_factory.mktemp("ulx3s"))


def test_contents(package):
    assert package.checks == dict.fromkeys(CHECKS["ecp5"], True)
    rtl, data = ["rtl/lightmamba.v", "rtl/soc.v"], sorted(p for p in package.files if "data/" in p)
    edits = [
        "edits/__init__.py",
        *(f"edits/{n}.py" for n in ("absorb", "clocks", "edit", "fanout")),
    ]
    assert list(package.files) == [
        "LICENSE", MANIFEST, "Makefile", "NOTICE", "README.md", "collect_logs.sh", *data,
        "driver/expected.json", "driver/run.py", *edits, "map.json", "pins-3.0.lpf",
        "pins-3.1.lpf", *rtl, "script.ys", "tools.sh",
    ]  # fmt: skip
    assert "data/manifest.json" in data
    assert "data/top.v" not in data
    said = json.loads((package.path / "map.json").read_text())
    assert said["control"]["interface"] == "host"
    assert said["channels"][0]["interfaces"] == ["memory"]
    assert said["channels"][0]["windows"] == [[0, 32 << 20]]
    readme = (package.path / "README.md").read_text()
    assert "Never run on a board" in readme
    assert "AMD" not in readme
    assert "AMD" not in (package.path / "NOTICE").read_text()


def test_the_same_bytes_again_with_and_without_verilog(package, tmp_path):
    again = packaged(tmp_path, verilog=True)
    assert (again.path / MANIFEST).read_bytes() == (package.path / MANIFEST).read_bytes()
    command = ["sha256sum", "--strict", "-c", MANIFEST]
    assert subprocess.run(command, cwd=again.path, capture_output=True).returncode == 0


BREAKS = {  # file, what is replaced, by what; one for each check that can fail by a file
    "system": ("rtl/soc.v", "lightmamba core (\n    .clk(", "lightmamba core (\n    .klc("),
    "pins": ("pins-3.1.lpf", 'COMP "led[3]" SITE "D2"', 'COMP "led[3]" SITE "D1"'),
    "clocks": ("pins-3.0.lpf", "25 MHZ", "24 MHZ"),
    "identity": ("rtl/soc.v", "\n", "\n\n"),
    "regions": ("map.json", '"address": 0,', '"address": 99999999,'),
    "registers": ("map.json", '"token",\n   "offset": 24', '"token",\n   "offset": 28'),
    "hashes": ("README.md", "lightmamba", "Lightmamba"),
}  # fmt: skip
MORE = [  # more ways to break them
    ("pins", "pins-3.0.lpf", 'LOCATE COMP "wifi_en" SITE "F1";\n', ""),
    ("pins", "pins-3.0.lpf", 'IOBUF PORT "led[0]"', 'IOBUF PORT "led[1]"'),
    ("pins", "pins-3.0.lpf", 'COMP "sdram_a[3]"', 'COMP "sdram_a[2]"'),
    ("clocks", "rtl/soc.v", ".CLKOS_DIV(32'd10)", ".CLKOS_DIV(32'd11)"),
    ("clocks", "rtl/soc.v", ".CLKFB_DIV(32'd4)", ".CLKFB_DIV(32'd5)"),
    ("clocks", "rtl/soc.v", ".CLKOS2_DIV(32'd6)", ".CLKOS2_DIV(32'd7)"),
    ("clocks", "pins-3.1.lpf", 'FREQUENCY PORT "clk_25mhz"', 'FREQUENCY PORT "clk_50mhz"'),
    ("system", "rtl/lightmamba.v", "[63:0] memory__rdata;", "[31:0] memory__rdata;"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "file", "old", "new"), [*((n, *how) for n, how in BREAKS.items()), *MORE]
)
def test_a_check_fails_when_a_file_is_wrong(package, tmp_path, name, file, old, new):
    folder = tmp_path / "broken"
    shutil.copytree(package.path, folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    found = check(packaged_design(folder), folder)
    other = {"hashes", "identity"} if file == "rtl/soc.v" else {"hashes"}
    assert {one for one, passed in found.items() if not passed} == {name} | other


def test_a_system_of_another_build_is_found(package, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(package.path, folder)
    made = packaged_design(folder)
    said = identity(made)
    assert (said.clock_hz, said.memory_clock_hz, said.turn) == (60_000_000, 100_000_000, 48)
    (folder / "rtl/soc.v").write_text(to_verilog(64, replace(said, build=said.build ^ 1)))
    found = check(made, folder)
    assert {one for one, passed in found.items() if not passed} == {"identity", "hashes"}


def test_ports_and_windows_are_those_of_the_build(package):
    made = packaged_design(package.path)
    (port,) = made.interfaces
    assert (port.bus, port.mode, port.bits) == ("memory", "READ_WRITE", 64)
    assert set(CHECKS) == {"kernel", "zynqmp", "versal", "ecp5"}


# What it refuses.


def _refusal(tmp_path: Path, target: Target, config=CONFIG) -> str:
    build(random_model(config, lazy=True), target, tmp_path / "b")
    with pytest.raises(InputError) as refusal:
        write_package(Artifact.read(tmp_path / "b"), Board.load("ulx3s"), tmp_path / "p")
    assert not (tmp_path / "p").exists()
    return str(refusal.value)


def test_several_ports_and_one_that_is_too_wide(tmp_path):
    target = Target.load("ulx3s")
    wide = replace(
        target.machine, port_bits=128, state_port_bits=128, aux_port_bits=128, state_elements=16
    )
    said = _refusal(tmp_path, replace(target, machine=wide))
    assert "has one of 128 bits, but the memory controller for ulx3s takes one port of" in said
    assert "compile with shared_port = true and port_bits = 64 in the target" in said


def test_more_clients_of_memory_than_ids(tmp_path):
    """Neither compiled nor packaged."""
    target = Target.load("ulx3s")
    many = replace(target, machine=replace(target.machine, lanes=27))
    sentence = "33 clients are on port memory, which has ids for 32; take fewer lanes"
    with pytest.raises(InputError, match=f"target ulx3s: {sentence}"):
        build(random_model(CONFIG), many, tmp_path / "b")
    artifact = build(random_model(CONFIG), target, tmp_path / "b")
    older = replace(artifact, arch=replace(artifact.arch, lanes=27))
    with pytest.raises(InputError, match=sentence):
        design(older, Board.load("ulx3s"))


def test_a_clock_that_no_pll_makes(tmp_path):
    said = _refusal(tmp_path, replace(Target.load("ulx3s"), clock_mhz=61.7))
    assert "try clock_mhz = 61" in said


def test_a_model_that_is_too_large(package, monkeypatch):
    from lightmamba.device.package import design as module

    board = Board.load("ulx3s")
    small = replace(board.memories[0], windows=(replace(board.memories[0].windows[0], bytes=4096),))
    with pytest.raises(InputError, match=r"SDRAM of ulx3s takes blocks of 0 MiB .* at most \d%"):
        module.design(Artifact.read(package.path / "data"), replace(board, memories=(small,)))


# Where its numbers come from.


@pytest.mark.parametrize("version", ["3.0", "3.1"])
def test_the_pins_are_those_of_amaranth_boards(version):
    boards = pytest.importorskip("amaranth_boards.ulx3s")
    platform = boards.ULX3S_85F_Platform()
    theirs = {}
    for resource in platform.resources.values():
        if resource.name == "led":
            theirs[f"led[{resource.number}]"] = _names(resource)[0]
        parts = {io.name: io for io in resource.ios if hasattr(io, "ios") or hasattr(io, "name")}
        for ours, (name, *part) in OURS.items():
            if name != resource.name or name == "led" or resource.number:
                continue
            names = _names(parts[part[0]]) if part else _names(resource)
            bits = [ours] if len(names) == 1 else [f"{ours}[{n}]" for n in range(len(names))]
            theirs |= dict(zip(bits, names, strict=True))
    text = (BOARDS / f"ulx3s/pins-{version}.lpf").read_text()
    own = dict(PLACE.findall(text))
    if version == "3.1":  # amaranth-boards knows the board's version 3.0
        assert own.pop("wifi_en") == "J5"
        assert theirs.pop("wifi_en") == "F1"
    assert own == theirs
    assert set(own) <= {f"{n}[{b}]" if s > 1 else n for n, s in LINES.items() for b in range(s)}
    assert platform.default_clk_constraint.frequency == 25e6


def _names(part):
    """Names of pins of a resource or subsignal."""
    (pins,) = [io for io in part.ios if hasattr(io, "names")]
    return list(pins.names)


def test_the_makefile_does_what_the_flow_does(package):
    """Tools get the arguments that :mod:`lightmamba.hardware.synth.board` gives them."""
    flow = Flow(TOP, {"soc.v": ""}, "", {"clk_25mhz": 25.0}, resets=RESETS)
    makefile = (package.path / "Makefile").read_text().replace("\\\n", " ")
    said = " ".join(
        makefile.replace("$(PINS)", "pins.lpf").replace("lightmamba.", "ulx3s.").split()
    )
    route = " ".join(flow.route).replace(f"{TOP}.config", "$@")
    for words in (
        route,
        "--report report.json --log nextpnr.log",
        "-s script.ys",
        " ".join(flow.pack).replace(f"{TOP}.bit", "$@"),
        f"-m edits.edit netlist.json $@ --top {TOP} --reset {RESETS[0]} --reset {RESETS[1]}",
    ):
        assert words in said
    assert "--timing-allow-fail" not in makefile
    for name in FILES:
        own = resources.files("lightmamba.hardware.synth") / name
        assert (package.path / "edits" / name).read_text() == own.read_text()
    script = (package.path / "script.ys").read_text()
    assert "read_verilog rtl/soc.v rtl/lightmamba.v\n" in script
    assert f"hierarchy -check -top {TOP}\n" in script
    assert "@" not in script
    command = [sys.executable, "-S", "-m", "edits.edit", "--help"]  # needs no package of Python
    done = subprocess.run(command, cwd=package.path, env={}, capture_output=True, check=False)
    assert done.returncode == 0


def test_versions_of_tools_are_those_of_synthesis():
    tools = Board.load("ulx3s").tools
    for name in ("yosys", "nextpnr-ecp5", "ecppack"):
        oldest = NEEDED[name][1]
        assert oldest is not None
        assert tools[name] == (".".join(map(str, oldest)),)
