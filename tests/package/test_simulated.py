"""Packages in Verilator: their own files alone, through the wrapper, at addresses of the boards."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from lightmamba.common.errors import DeviceError
from lightmamba.device.boards.selftest import STEPS, Expected, self_test
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.machine.registers import MAGIC
from tests.support.tools import needs_verilator

from .boards import BOARDS
from .simulated import open_package

pytestmark = needs_verilator
BASES = {  # of some channels, by the boards' address maps
    "kv260": {"ddr4": 0x8_0000_0000},
    "u280": {"hbm1": 0x1000_0000, "ddr4-0": 0x40_0000_0000, "ddr4-1": 0x44_0000_0000},
    "u55c": {"hbm1": 0x2000_0000, "hbm-state-1": 0x3_C000_0000, "hbm-aux": 0x3_E000_0000},
    "vck190": {"lpddr4-0": 0x500_0000_0000, "lpddr4-2": 0x600_0000_0000, "ddr4": 0x8_0000_0000},
}
# A simulator is to be built for each; that of one board runs in CI too.
CASES = [
    pytest.param(name, marks=[pytest.mark.slow, *[pytest.mark.board] * (name == "u280")])
    for name in BOARDS
]


@pytest.mark.parametrize("board", CASES)
def test_tokens_and_logits_are_the_engines(packages, board):
    """Without pauses, then with pauses on every channel; what the self-test expects, too."""
    folder = packages[board].path
    said = json.loads((folder / "driver/expected.json").read_text())["steps"]
    for stalls in (0.0, 0.3):
        with open_package(folder, stalls=stalls, seed=4) as device:
            artifact = device.made.artifact
            assert device.bases.items() >= BASES[board].items()
            assert device.read("magic") == MAGIC
            assert device.read("hash") == json.loads((folder / "map.json").read_text())["hash"]
            engine = Engine(open_model(artifact))
            state = engine.empty_state(1)
            for n, step in enumerate(said):
                logits, state = engine.step(np.array([step["token"]]), state)
                device.start(step["token"], fresh=n == 0)
                device.wait()
                found = device.logits()
                np.testing.assert_array_equal(found, logits[0])
                assert hashlib.sha256(found.tobytes()).hexdigest() == step["logits_sha256"]
                assert device.next_token() == step["next"]
            moved = {
                one.name: device.simulator.counters(one.name) for one in device.made.interfaces
            }
            assert moved["state"].bytes_read > 0 < moved["state"].bytes_written


@pytest.mark.parametrize("board", CASES)
def test_the_packages_own_self_test_passes(packages, board):
    """The simulator in the place of the board; nothing but what the package brings."""
    folder = packages[board].path
    values = json.loads((folder / "driver/expected.json").read_text())["self_test"]
    with open_package(folder) as device:
        wanted = Expected.from_dict(values)
        steps = list(self_test(device, device.made.artifact, wanted))
    assert [(step.name, step.problem) for step in steps] == [(name, "") for name in STEPS]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (".state_read__rdata(m_axi_aux_rdata)", ".state_read__rdata(m_axi_state_rdata)"),
        ("{{20{1'b0}}, aux_araddr}", "{{20{1'b1}}, aux_araddr}"),
        (".lane1__rdata(m_axi_lane0_rdata)", ".lane1__rdata(m_axi_lane1_rdata)"),
    ],
)
@pytest.mark.slow
def test_a_wrong_wrapper_is_found(packages, tmp_path, wrong, right):
    """A pin of another interface, address bits that are not zero, a width of one less."""
    folder = tmp_path / "broken"
    shutil.copytree(packages["u280"].path, folder)
    text = (folder / "rtl/wrapper.v").read_text()
    old, new = (right, wrong) if right in text else (wrong, right)
    assert text.count(old) == 1
    (folder / "rtl/wrapper.v").write_text(text.replace(old, new))
    said = json.loads((folder / "driver/expected.json").read_text())["steps"]
    try:
        with open_package(folder) as device:
            found = []
            for n, step in enumerate(said):
                device.start(step["token"], fresh=n == 0)
                device.wait()
                found.append(hashlib.sha256(device.logits().tobytes()).hexdigest())
    except DeviceError:
        return
    assert found != [step["logits_sha256"] for step in said]
