"""Tables of the docs from the results files: ``python -m bench.tables`` writes them.

A table is between ``<!-- table: NAME -->`` and ``<!-- end -->`` in README.md and docs/.
"""

import functools
import re
from pathlib import Path

from bench.common import ROOT
from bench.tables.ablation import ABLATION
from bench.tables.area import AREA
from bench.tables.drafts import DRAFTS
from bench.tables.hardware import HARDWARE
from bench.tables.hybrids import HYBRID_TABLES
from bench.tables.models import MODELS
from bench.tables.printer import Table
from bench.tables.quotes import requoted
from bench.tables.speed import SPEED
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.describe import tables

__all__ = ["CONTRACT", "MARK", "TABLES", "made", "pages", "table", "write"]

MARK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
CONTRACT = tables()
TABLES = {**MODELS, **SPEED, **HARDWARE, **HYBRID_TABLES, **AREA, **ABLATION, **DRAFTS}


def table(name: str) -> Table:
    """A table by name.

    Raises
    ------
    InputError
        If there is none, or its benchmark has no rows.
    """
    if name not in TABLES:
        raise InputError(f"there is no table {name}; there are {', '.join(sorted(TABLES))}")
    return TABLES[name]()


def made(name: str) -> str:
    """Text of a table by name."""
    return CONTRACT[name] if name in CONTRACT else str(table(name))


def pages() -> dict[Path, list[str]]:
    """Tables of every page that has some, README first."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = {path: MARK.findall(path.read_text(encoding="utf-8")) for path in files}
    return {path: [name for _, name, _ in marks] for path, marks in found.items() if marks}


def write() -> None:
    """Write the tables and quoted numbers of every page, and print the pages that changed."""
    known = functools.cache(table)
    for path in pages():
        text = path.read_text(encoding="utf-8")
        new = MARK.sub(lambda m: m[1] + made(m[2]) + m[3], requoted(text, known))
        if new != text:
            path.write_text(new, encoding="utf-8")
            print(path.relative_to(ROOT))
