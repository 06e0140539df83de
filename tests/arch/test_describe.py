"""The tables of the docs are those of the contract."""

from pathlib import Path

import pytest

from lightmamba.arch.describe import tables

PAGE = Path(__file__).parents[2] / "docs/reference/hardware.md"


@pytest.mark.parametrize("name", sorted(tables()))
def test_the_docs_hold_the_table_as_it_is(name):
    text = PAGE.read_text(encoding="utf-8")
    start = f"<!-- table: {name} -->\n"
    assert start in text
    found = text.split(start)[1].split("<!-- end -->")[0]
    assert found == tables()[name], "run: python -m bench.tables"
