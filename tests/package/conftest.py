"""Packages of small builds, made once for all tests here."""

import pytest

from lightmamba.device.package import Package

from .boards import BOARDS, packaged


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    """A package for every board."""
    pytest.importorskip("amaranth", reason="the RTL needs the extra 'rtl'")
    pytest.importorskip("jinja2", reason="packages need the extra 'package'")
    folder = tmp_path_factory.mktemp("packages")
    return {board: packaged(folder, board) for board in BOARDS}
