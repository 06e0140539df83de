"""Wrong answers on every port of a whole machine: each is named, and no token comes of it."""

from collections.abc import Iterator

import numpy as np
import pytest

from lightmamba.common.errors import DeviceError
from lightmamba.device.host.device import Device, Flags
from lightmamba.device.sim import Opened, SimDevice, open_golden
from lightmamba.hardware.machine.faults import MEANINGS, Fault, sides
from lightmamba.hardware.machine.ports import Port
from tests.support import mixed
from tests.support.tools import needs_verilator

from .machines import CONFIG, TARGET, compiled, same

pytestmark = needs_verilator
RESPONSES = (Fault.SLVERR, Fault.DECERR)


def plain(folder) -> Opened:
    """Mamba2 layers on a machine of one token a pass."""
    return open_golden(compiled(folder, CONFIG, TARGET))


def three_kinds(folder) -> Opened:
    """Attention, whose keys and values share the lanes' ports, and MLPs."""
    return open_golden(mixed.compiled(folder, mixed.MIXED, segment=64, hardware=mixed.hardware()))


@pytest.fixture(scope="module", params=[plain, three_kinds])
def opened(request, tmp_path_factory) -> Iterator[Opened]:
    found = request.param(tmp_path_factory.mktemp("builds"))
    yield found
    found.device.close()


def planted(opened: Opened) -> Iterator[tuple[Port, str, Fault]]:
    for port, side in sides(opened.golden.arch):
        for fault in Fault if side == "read" else RESPONSES:
            yield port, side, fault


def test_every_fault_is_named_and_gives_no_token(opened):
    """Anywhere in a pass. One in what is read ahead of it is that of the next pass."""
    device, rng = opened.device, np.random.default_rng(3)
    for port, side, fault in planted(opened):
        opened.golden.restart()
        same(opened.golden.feed(5))
        after = int(rng.integers(300 if side == "read" else 8))
        device.simulator.plant(port.name, fault, write=side == "write", after=after)
        with pytest.raises(DeviceError) as error:
            feed(opened)
        assert MEANINGS[fault] in str(error.value)
        assert f"port {port.name}, {side} of " in str(error.value)
        assert Flags.BUS_FAULT in device.status
        device.reset()
        assert device.read("fault") == 0
        assert Flags.BUS_FAULT not in device.status
    opened.golden.restart()
    same(opened.golden.feed(5))


def feed(opened: Opened) -> None:
    """Tokens until a device fails; those that it returns must be right."""
    for _ in range(8):
        same(opened.golden.feed(7))


def test_a_board_goes_on_after_an_error_of_memory(opened, monkeypatch):
    """A board without a reset: the pass ends, and all that was read ahead is dropped."""
    monkeypatch.setattr(SimDevice, "reset_machine", Device.reset_machine)
    device = opened.device
    for fault in (*RESPONSES, Fault.NO_LAST):
        opened.golden.restart()
        device.simulator.plant("lane0", fault, after=40)
        with pytest.raises(DeviceError, match="port lane0, read of lane0"):
            feed(opened)
        device.reset()
        opened.golden.restart()
        same(opened.golden.feed(5))


def test_a_burst_that_ends_early_needs_another_reset(opened, monkeypatch):
    """The beats that never came are waited for: the sentence says what to do."""
    device = opened.device
    opened.golden.restart()
    device.simulator.plant("lane0", Fault.EARLY_LAST, after=40)
    with pytest.raises(DeviceError, match="a burst ended early"):
        feed(opened)
    with monkeypatch.context() as patched:
        patched.setattr(SimDevice, "reset_machine", Device.reset_machine)
        patched.setattr("lightmamba.device.host.primitives.POLLS", 100)
        patched.setattr("lightmamba.device.host.device.POLLS", 100)
        with pytest.raises(DeviceError, match=r"does not drain.*load its bitstream again"):
            device.reset()
    device.reset()
    opened.golden.restart()
    same(opened.golden.feed(5))
