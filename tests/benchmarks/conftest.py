"""Fixtures of other folders that tests of benchmarks use."""

from tests.sweep.conftest import world

__all__ = ["world"]
