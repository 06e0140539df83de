"""A plugin of pytest for planted faults: tests that are likely to fail run first.

``bench.mutants`` loads it, with their node ids; it says which test failed.
"""

import json
import os
from pathlib import Path

import pytest

__all__ = ["FAILED", "FIRST", "pytest_collection_modifyitems", "pytest_runtest_logreport"]

FIRST, FAILED = "LIGHTMAMBA_FIRST", "LIGHTMAMBA_FAILED"  # node ids; a file for the node id


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests of the list first, in its order."""
    order = {name: n for n, name in enumerate(json.loads(os.environ[FIRST]))}
    items.sort(key=lambda item: order.get(item.nodeid, len(order)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write the name of a test that fails."""
    if report.failed:
        Path(os.environ[FAILED]).write_text(report.nodeid)
