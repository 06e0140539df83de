"""Fixtures of the tests of the machine."""

import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine import kinds

from .grown import BOTH, known


@pytest.fixture
def both(monkeypatch):
    """Build parameters of a machine of two kinds, one of them pretended."""
    monkeypatch.setattr(kinds, "kind", known)
    return ArchConfig(kinds=BOTH, tokens=2)
