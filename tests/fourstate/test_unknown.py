"""Machines whose registers and memory are unknown, or random, until the first reset.

Icarus Verilog simulates four states, so what nobody set is X, and X spreads. No machine may need a
value that a bitstream gives, but those of tables: after a reset in the middle of a token there are
none. Memory is unknown for Mamba2, and random for others: attention multiplies what it reads behind
the last position by 0, which four states do not know to be 0.
"""

import re
import shutil

import numpy as np
import pytest

from lightmamba.common.errors import DeviceError
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import build
from lightmamba.model.qmodel.synthetic import random_model
from tests.fourstate.device import Icarus
from tests.sim import machines
from tests.support.mixed import CONTEXT, EXPERTS, MIXED, target_of

pytestmark = [
    pytest.mark.slow,  # a hundred cycles per second
    pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed"),
]
MACHINES = {
    "Mamba2": (machines.CONFIG, machines.TARGET, None),
    "attention": (MIXED, target_of(segment=64), CONTEXT),
    "experts": (EXPERTS, target_of(segment=64), CONTEXT),
}


def built(folder, name):
    """Engine and build of a machine."""
    config, target, context = MACHINES[name]
    model = random_model(config)
    return Engine(model), build(model, target, folder / "build", context=context)


def compare(device, engine, tokens):
    """A fresh sequence gives the engine's logits, token by token."""
    state = engine.empty_state(1)
    for n, token in enumerate(tokens):
        device.start(token, fresh=n == 0)
        device.wait()
        wanted, state = engine.step(np.array([token]), state)
        assert (device.logits() == wanted[0]).all(), n


@pytest.mark.parametrize(
    ("name", "registers", "random"),
    [("Mamba2", None, False), ("Mamba2", 1, False), ("Mamba2", 1, True)]
    + [(name, registers, True) for name in ("attention", "experts") for registers in (None, 1)],
)
def test_tokens_and_a_reset_in_the_middle(tmp_path, name, registers, random):
    engine, artifact = built(tmp_path, name)
    with Icarus(artifact, tmp_path, stall=0.1, registers=registers, random=random) as device:
        device.load(artifact)
        compare(device, engine, [3, 4])
        device.start(5)
        device.run_for(1234)
        device.reset()
        compare(device, engine, [6, 7])
        assert device.reports == []
        assert device.unknown() == 0


def without_a_reset(signal):
    """A change of Verilog: the first register of that name keeps its value through a reset."""

    def change(verilog):
        (following,) = re.findall(rf"^    {signal} <= (\S+) ;", verilog, re.MULTILINE)[:1]
        begin = verilog.index(f"    {signal} <= {following} ;")
        end = verilog.index("\nendmodule", begin)
        reset = re.compile(rf"if \(rst\) begin\s+{re.escape(following)}  = [^;]*;\s+end")
        module, count = reset.subn("", verilog[begin:end])
        assert count == 1
        return verilog[:begin] + module + verilog[end:]

    return change


@pytest.mark.parametrize("signal", ["axi__arvalid", "o__arvalid"])
def test_a_register_without_a_reset_is_found(tmp_path, signal):
    _, artifact = built(tmp_path, "Mamba2")
    with Icarus(artifact, tmp_path, change=without_a_reset(signal)) as device:
        try:
            device.load(artifact)
            device.start(3, fresh=True)
            device.wait()
        except (DeviceError, ValueError):
            return  # it hangs, or a register of the host is unknown
        assert device.unknown() > 0
