"""The pages of targets and energy hold what the data files say."""

from pathlib import Path

import pytest
from bench.tables import made

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("reference/targets.md", "targets"),
        ("reference/targets.md", "target-sources"),
        ("explanation/energy.md", "energy-constants"),
    ],
)
def test_the_page_holds_the_table_as_it_is(page, name):
    text = (DOCS / page).read_text(encoding="utf-8")
    found = text.split(f"<!-- table: {name} -->\n")[1].split("<!-- end -->")[0]
    assert found == made(name), "run: python -m bench.tables"
