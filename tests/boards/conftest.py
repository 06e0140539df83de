"""A board in Python, on a clock of its own."""

import pytest

from lightmamba.device.boards import serial_link

from .serial_board import Clock, FakePort, Memory


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(serial_link, "time", found)
    return found


@pytest.fixture
def port(clock):
    return FakePort(clock, Memory())
