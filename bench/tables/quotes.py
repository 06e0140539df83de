"""Numbers in prose that quote a cell of a table: one figure has one value.

A quoted number is followed by a comment that names table, row and column, such as
``303<!-- = speed-summary | 2.7B, accelerator `u280` | tokens/s -->``: the first number of the cell
whose row and column begin so. ``python -m bench.tables`` writes it with as many decimals as before.
"""

import re
from collections.abc import Callable, Iterator

from bench.tables.printer import Table
from lightmamba.common.errors import InputError

__all__ = ["quoted", "requoted", "unmarked"]

NUMBER = r"\d(?:[\d,]*\d)?(?:\.\d+)?"
MARK = re.compile(rf"({NUMBER})(\**)(<!-- = ([\w-]+) \| (.+?) \| (.+?) -->)")
UNITS = (
    r"(?:tokens/s|tokens per second|tokens/J|×(?!\s*\d)|%|[kMG]i?B(?!/s)\b|m?s\b|ns\b|seconds?"
    r"|minutes?|hours?|LUTs?\b|DSPs?\b|nats|points|W\b|watts?)"
)
WITH_UNIT = re.compile(rf"(?<![\w.,]){NUMBER}\**\s?{UNITS}|(?:KL|perplexity)\s(?:of\s)?{NUMBER}")
# No prose: tables, code, comments, links' addresses, pictures' texts, formulas between backticks.
NO_PROSE = re.compile(
    r"<!-- table: .*?<!-- end -->|^```.*?^```|^\|.*?$|`[^`\n]*`|<!--.*?-->|\]\([^)]*\)|!\[[^\]]*\]",
    re.DOTALL | re.MULTILINE,
)


def requoted(text: str, tables: Callable[[str], Table]) -> str:
    """The page with every quoted number as its cell has it.

    Raises
    ------
    InputError
        If a mark names no cell, or more than one.
    """
    return MARK.sub(lambda m: _shown(tables(m[4]), m) + m[2] + m[3], text)


def quoted(text: str) -> Iterator[str]:
    """Marks of a page."""
    yield from (m[0] for m in MARK.finditer(text))


def unmarked(text: str) -> list[str]:
    """Numbers with a unit in prose that have no mark, each with the words around it."""
    text = NO_PROSE.sub(lambda m: " " if "\n" not in m[0] else "\n", MARK.sub("", text))
    return [" ".join(m[0].split()) for m in WITH_UNIT.finditer(text)]


def _shown(table: Table, mark: re.Match[str]) -> str:
    rows = [row for row in table.body if row[0].startswith(mark[5])]
    columns = [n for n, name in enumerate(table.header) if name.startswith(mark[6])]
    if len(rows) != 1 or len(columns) != 1:
        raise InputError(
            f"{mark[3]} names {len(rows)} rows and {len(columns)} columns of the table {mark[4]}; "
            f"write the beginning of one of each"
        )
    cell = rows[0][columns[0]]
    if (found := re.search(NUMBER, cell)) is None:
        raise InputError(f"{mark[3]} names a cell without a number: {cell!r}")
    decimals = len(mark[1].partition(".")[2])
    if re.fullmatch("50*", found[0].partition(".")[2][decimals:]):
        raise InputError(
            f"{mark[3]} names {found[0]}, which {decimals} decimals would round for the second "
            f"time; write it with those of its cell"
        )
    return f"{float(found[0].replace(',', '')):,.{decimals}f}"
