"""Numbers in prose: each quotes a cell of a table, or is on a short list."""

import functools
import tomllib
from pathlib import Path

import pytest
from bench.tables import table
from bench.tables.printer import Table
from bench.tables.quotes import quoted, requoted, unmarked

from lightmamba.common.errors import InputError
from tests.docs.pages import PAGES, ROOT

LIST = tomllib.loads(Path(__file__).with_name("unmarked.toml").read_text(encoding="utf-8"))
MOST = 40
TABLE = Table(
    ["speed", "tokens/s", "compared with"],
    [["2.7B on `u280`", "**1,303.3**", "1.92 × llama.cpp"], ["1.3B", "22", ""]],
)
USERS = [p for p in PAGES if "decisions" not in p.parts and p.name != "CONTRIBUTING.md"]


def quote(number, row="2.7B", column="tokens/s"):
    return f"**{number}**<!-- = speed | {row} | {column} --> tokens/s"


@pytest.mark.parametrize(("number", "shown"), [
    ("1", "1,303"), ("1,303", "1,303"), ("1,303.3", "1,303.3"), ("7.12", "1,303.30"),
])  # fmt: skip
def test_a_quoted_number_is_that_of_its_cell(number, shown):
    assert requoted(quote(number), lambda name: TABLE) == quote(shown)


def test_the_first_number_of_a_cell_counts():
    assert "2<!--" in requoted("3<!-- = speed | 2.7B | compared -->", lambda name: TABLE)


@pytest.mark.parametrize(
    ("row", "column"), [("2.7C", "tokens/s"), ("2.7B", "x"), ("1.3B", "compared")]
)
def test_a_mark_without_one_cell_is_refused(row, column):
    with pytest.raises(InputError, match="speed"):
        requoted(quote(1, row, column), lambda name: TABLE)


def test_a_number_is_not_rounded_twice():
    """A cell of 1.45 may have been 1.451 or 1.446."""
    exact = Table(["speed", "tokens/s"], [["2.7B", "1.45"]])
    for shown in ("1", "1.45"):
        assert requoted(quote(shown), lambda name: exact) == quote(shown)
    with pytest.raises(InputError, match="round for the second time"):
        requoted(quote("1.4"), lambda name: exact)


def test_numbers_with_units_are_found():
    text = "It makes 75 tokens/s, 1.1 to 1.9 ×, a KL of 0.05 and 3\nMB (`4 s`, 60 MHz), 12 GB/s."
    assert unmarked(text) == ["75 tokens/s", "1.9 ×", "KL of 0.05", "3 MB"]
    assert unmarked(quote(3)) == []
    assert unmarked("```\n3 s\n```\n| 3 s |\n[x](3 s) <!-- table: a -->\n3 s\n<!-- end -->") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_quotes_what_is_stored(page):
    text = page.read_text(encoding="utf-8")
    if list(quoted(text)):
        assert requoted(text, functools.cache(table)) == text, "run: python -m bench.tables"


def test_other_numbers_are_on_the_list():
    found = {
        name: numbers for page in USERS
        if (numbers := unmarked(page.read_text(encoding="utf-8")))
        for name in [str(page.relative_to(ROOT))]
    }  # fmt: skip
    listed = {name: list(numbers) for name, numbers in LIST.items()}
    for name, numbers in found.items():
        new = [number for number in numbers if number not in listed.get(name, ())]
        assert not new, f"{name}: {new} quote no table; mark them, or add them to unmarked.toml"
    assert sum(map(len, LIST.values())) <= MOST
    for name, numbers in listed.items():
        assert set(numbers) <= set(found.get(name, ())), f"{name}: no longer there"
