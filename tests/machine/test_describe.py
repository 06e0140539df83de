"""The tables of the docs are those of the contract."""

from pathlib import Path

import pytest

from lightmamba.hardware.machine.describe import tables

DOCS = Path(__file__).parents[2] / "docs"
PAGES = DOCS / "reference/hardware.md", DOCS / "developer/hardware-units.md"


@pytest.mark.parametrize("name", sorted(tables()))
def test_the_docs_hold_the_table_as_it_is(name):
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    start = f"<!-- table: {name} -->\n"
    assert start in text
    found = text.split(start)[1].split("<!-- end -->")[0]
    assert found == tables()[name], "run: python -m bench.tables"
