"""Recordings of what a driver does, and devices that are given back when opening them fails."""

import gc
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.common.passes import Pass, Slot
from lightmamba.device.host import devices
from lightmamba.device.host.device import Device
from lightmamba.device.host.devices import open_named
from lightmamba.device.host.primitives import Primitives
from lightmamba.device.host.recording import RecordingDevice, ReplayDevice
from lightmamba.hardware.compiler import build
from tests.support.builders import random_model, shipped, sizes
from tests.support.pretended import Pretended

BY_NAME = {"read", "write", "hangs", "close"}  # made of the others, or no traffic


class Noted(Pretended):
    """Device that notes which of its primitives are called, and that it was closed."""

    def __init__(self, model):
        self.called: list[str] = []
        self.closed = 0
        super().__init__(model)

    def __getattribute__(self, name):
        if name in PRIMITIVES and "called" in vars(self):
            self.called.append(name)
        return super().__getattribute__(name)

    def close(self):
        self.closed += 1


PRIMITIVES = {
    name for name, value in vars(Primitives).items() if callable(value) and name[0] != "_"
} - BY_NAME | {"place"}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    return build(random_model(sizes()), shipped(tokens=4), folder / "b")


@pytest.fixture
def device():
    return Noted(random_model(sizes()))


@pytest.fixture
def opened(monkeypatch, device):
    monkeypatch.setattr(
        devices, "_found",
        lambda: {"noted": SimpleNamespace(load=lambda: lambda artifact: device)},
    )  # fmt: skip
    return device


def session(device: Device, artifact) -> list[int]:
    """Load, run, save, go on, and run into an error."""
    device.load(artifact, 2)
    device.submit(Pass((Slot(0, np.array([3, 4, 5]), fresh=True, commit=1),)))
    device.wait()
    device.fork_state(0, 1)
    device.submit(Pass((Slot(1, np.array([6])),)))
    device.wait()
    found = [*device.next_tokens(), *device.logits()[:5], *device.counters().values()]
    device.start(7)
    with pytest.raises(DeviceError, match="it hangs"):
        device.wait()
    device.reset()
    return list(map(int, found))


def hanging(device: Noted, artifact, monkeypatch) -> None:
    """Make this hardware of the build, and let its third wait fail."""
    left = iter(range(2))

    def wait():
        if next(left, None) is None:
            raise DeviceError("it hangs")

    monkeypatch.setattr(device, "wait_interrupt", wait)
    monkeypatch.setattr(type(device), "load", Device.load)
    device.made_for(artifact)


def test_a_session_is_recorded_and_played_back(artifact, device, monkeypatch, tmp_path):
    hanging(device, artifact, monkeypatch)
    with RecordingDevice(device, tmp_path / "r") as recorded:
        wanted = session(recorded, artifact)
    assert device.closed == 1
    played = ReplayDevice(tmp_path / "r")
    assert session(played, artifact) == wanted
    played.finish()
    lines = [json.loads(line) for line in (tmp_path / "r").read_text().splitlines()]
    assert {line["call"] for line in lines[1:]} == PRIMITIVES - {"read32"}
    assert [line["raises"] for line in lines if "raises" in line] == ["it hangs"]


def test_each_call_reaches_the_device_as_it_is(artifact, device, monkeypatch, tmp_path):
    """A recording passes each access on as it is, and makes none of others."""
    hanging(device, artifact, monkeypatch)
    session(device, artifact)
    alone = device.called
    other = Noted(device.model)
    hanging(other, artifact, monkeypatch)
    session(RecordingDevice(other, tmp_path / "r"), artifact)
    lines = [json.loads(line) for line in (tmp_path / "r").read_text().splitlines()]
    calls = [line["call"] for line in lines[1:]]
    assert other.called == alone
    assert calls.count("transfer") == alone.count("transfer") > 5


def test_a_call_that_never_ends_is_the_last_one(artifact, device, tmp_path, monkeypatch):
    recorded = RecordingDevice(device, tmp_path / "r")
    monkeypatch.setattr(device, "read32", lambda offset: sys.exit((tmp_path / "r").read_text()))
    with pytest.raises(SystemExit) as killed:
        recorded.read32(64)
    assert str(killed.value).endswith('{"call":"read32","offset":64')


@pytest.mark.parametrize("record", [False, True])
def test_a_device_whose_load_fails_is_closed(artifact, opened, monkeypatch, tmp_path, record):
    def fail(*given):
        raise DeviceError("no memory")

    monkeypatch.setattr(opened, "allocate", fail)
    opened.made_for(artifact)
    monkeypatch.setattr(Noted, "load", Device.load)
    with pytest.raises(DeviceError, match="no memory"):
        open_named("noted", artifact, record=tmp_path / "r" if record else None)
    assert opened.closed


def test_a_device_whose_recording_cannot_be_written_is_closed(artifact, opened, tmp_path):
    with pytest.raises(InputError, match="cannot write the recording"):
        open_named("noted", artifact, record=tmp_path / "none" / "r")
    assert opened.closed


def test_an_object_that_was_made_in_part_is_forgotten_in_silence(monkeypatch):
    class Half(Pretended):
        def __init__(self):
            raise DeviceError("no board")

        def close(self):
            self.port.close()  # type: ignore[attr-defined]

    noise: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", noise.append)
    with pytest.raises(DeviceError):
        Half()
    gc.collect()
    assert noise == []
