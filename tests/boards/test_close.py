"""A board that no longer answers is given back all the same."""

from types import SimpleNamespace
from typing import Any

import pytest

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.boards import uio
from lightmamba.device.boards.uio import UioDevice, open_uio
from lightmamba.device.boards.xrt import XrtDevice


class Part:
    """A window or a buffer that notes that it was closed, and may fail at it."""

    def __init__(self, name, closed, error=None):
        self.name, self.closed, self.error = name, closed, error

    def write(self, offset, value):
        raise DeviceError("the bus is gone")

    def close(self):
        self.closed.append(self.name)
        if self.error:
            raise self.error


def test_uio_gives_everything_back():
    closed: list[str] = []
    window: Any = Part("window", closed)
    buffers: Any = {"a": Part("a", closed), "b": Part("b", closed, BufferError("in use"))}
    device = UioDevice(window, buffers)
    with pytest.raises((DeviceError, BufferError)):
        device.close()
    assert sorted(closed) == ["a", "b", "window"]
    device.close()
    assert len(closed) == 3


def test_uio_without_one_of_its_memories_keeps_none(monkeypatch):
    closed: list[str] = []

    def buffer(name, system, devices):
        if name == "lightmamba-b":
            raise InputError("there is no memory b")
        return Part(name, closed)

    monkeypatch.setattr(uio, "_window", lambda system, devices: Part("window", closed))
    monkeypatch.setattr(uio, "Buffer", buffer)
    channels = tuple(SimpleNamespace(name=name) for name in "ab")
    build: Any = SimpleNamespace(target=SimpleNamespace(channels=channels))
    with pytest.raises(InputError, match="no memory b"):
        open_uio(build)
    assert closed == ["lightmamba-a", "window"]


class GoneCard:
    """XRT's library, of a card that was opened and has gone."""

    def __init__(self):
        self.closed = 0

    def __getattr__(self, name):
        def call(*arguments):
            return self.answer(name)

        vars(self)[name] = call
        return call

    def answer(self, name):
        if name == "lmx_error":
            return b"no such device"
        if name == "lmx_close":
            self.closed += 1
        return int(name == "lmx_write")


def test_xrt_gives_the_card_back(tmp_path, monkeypatch):
    card = GoneCard()
    monkeypatch.setattr("ctypes.CDLL", lambda path: card)
    (tmp_path / "x.xclbin").touch()
    device = XrtDevice(tmp_path / "x.so", tmp_path / "x.xclbin", {})
    device._handle.value = 1
    with pytest.raises(DeviceError, match="XRT: no such device"):
        device.close()
    assert card.closed == 1
    device.close()
    assert card.closed == 1
