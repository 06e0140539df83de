"""The board of a package in Verilator: its own files alone, from the serial line to the SDRAM."""

import json
import shutil
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.boards.selftest import STEPS, Expected, self_test
from lightmamba.device.host import devices
from lightmamba.device.package.ecp5 import identity
from lightmamba.device.package.ulx3s_device import open_simulated_ulx3s
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.serial import DEFAULT_BAUD
from lightmamba.hardware.soc.ulx3s import to_verilog
from tests.support.tools import needs_verilator

from .simulated import open_board, packaged_design
from .ulx3s import packaged


def on_board(test):
    """Mark a test that needs a simulator of the board, which takes half a minute to build."""
    return pytest.mark.slow(pytest.mark.board(needs_verilator(test)))


ROOT = Path(__file__).parents[2]
FIRST = 0.0083  # seconds of simulated time until the line runs at its highest rate


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return packaged(tmp_path_factory.mktemp("board")).path


@on_board
@pytest.mark.parametrize("line", [False, True])
def test_the_packages_own_self_test_passes(folder, line):
    """With memory read and written directly, and over the line as on a board: a minute."""
    values = json.loads((folder / "driver/expected.json").read_text())["self_test"]
    with open_board(folder, line=line) as device:
        assert device.link.baud == 15_000_000
        assert line or device.board.monotonic() == pytest.approx(FIRST, rel=0.02)
        steps = list(self_test(device, device.made.artifact, Expected.from_dict(values)))
        assert [(step.name, step.problem) for step in steps] == [(name, "") for name in STEPS]
        assert (device.link.broken, device.board.violations) == (0, "")
        assert device.board.leds & 0b10
        assert device.board.refreshes > 1000 * device.board.monotonic()


@on_board
def test_tokens_of_a_build_are_the_engines(folder):
    """The device of that name, from a build, and a lower rate; what it writes is in the chip."""
    artifact = Artifact.read(folder / "data")
    entry = EntryPoint("ulx3s-sim", _declared()["ulx3s-sim"], devices.GROUP)
    with entry.load()(artifact, divisor="20") as device:
        device.load(artifact)
        assert device.link.baud == 3_000_000
        engine = Engine(open_model(artifact))
        state, token = engine.empty_state(1), 1
        for n in range(4):
            logits, state = engine.step(np.array([token]), state)
            device.start(token, fresh=n == 0)
            device.wait()
            np.testing.assert_array_equal(device.logits(), logits[0])
            token = device.next_token()
        region = next(one for one in artifact.regions if one.name == "logits")
        chip = device.board.memory[device.address(region) :][: 4 * len(logits[0])]
        np.testing.assert_array_equal(chip.view("<i4"), logits[0])
        assert device.board.violations == ""


@on_board
def test_what_is_simulated_is_what_the_package_holds(folder, tmp_path):
    """The driver refuses a system that says the hash of another build; builds a simulator."""
    wrong = tmp_path / "wrong"
    shutil.copytree(folder, wrong)
    said = identity(packaged_design(folder))
    (wrong / "rtl/soc.v").write_text(to_verilog(64, replace(said, build=said.build ^ 1)))
    with pytest.raises(InputError, match=f"has the bitstream of {said.build ^ 1:08x}; load"):
        open_board(wrong)


@on_board
def test_a_rule_that_was_broken_is_an_error(folder, monkeypatch):
    with open_board(folder) as device:
        device.start(1, fresh=True)
        monkeypatch.setattr(type(device.board), "violations", "tRP of bank 1\nmore")
        with pytest.raises(DeviceError, match=r"a rule of the SDRAM was broken: tRP of bank 1$"):
            device.wait()


def _declared() -> dict[str, str]:
    values = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: dict[str, str] = values["project"]["entry-points"][devices.GROUP]
    return found


def test_the_device_is_declared():
    entry = EntryPoint("ulx3s-sim", _declared()["ulx3s-sim"], devices.GROUP)
    assert entry.load() is open_simulated_ulx3s


def test_refusals(folder, tmp_path):
    artifact = Artifact.read(folder / "data")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"divisor": 3}, "divisor must be 4 to 260 cycles of a bit at 60 MHz, not 3"),
        ({"divisor": 261}, "divisor must be 4 to 260 cycles"),
        ({"line": 2}, "line must be 0 or 1, not 2"),
    )
    for options, said in cases:
        with pytest.raises(InputError, match=said):
            open_simulated_ulx3s(artifact, **options)
    from .boards import built

    with pytest.raises(InputError, match="compile MODEL --target ulx3s -o BUILD"):
        open_simulated_ulx3s(built(tmp_path, "kv260"))
    assert DEFAULT_BAUD < 60_000_000 // 260
