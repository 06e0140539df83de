"""A figure has one value: every page gives the one that is stored in bench/results."""

import re
from html import unescape

import pytest
from bench.history import problems
from bench.page import MACHINE, PAGE
from bench.tables import MARK, made
from bench.tables.printer import load

from tests.docs.pages import PAGES, ROOT

SHAPE = "mamba2-2.7b on u280"
COMPUTED = {"mutants"}  # of hashes of the sources, too
MARKED = [
    pytest.param(page, *mark, id=f"{page.relative_to(ROOT)}, {mark[1]}")
    for page in PAGES
    for mark in MARK.findall(page.read_text(encoding="utf-8"))
    if mark[1] not in COMPUTED
]


@pytest.mark.slow  # `make check` runs it
@pytest.mark.parametrize(("page", "begin", "name", "end"), MARKED)
def test_a_table_is_of_the_stored_results(page, begin, name, end):
    found = page.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]
    assert found == made(name), "run: python -m bench.tables"


def test_rows_are_written_by_runs():
    assert list(problems()) == []


def side_by_side():
    """Rows of the report's table, {label: {origin: text}}."""
    page = PAGE.read_text(encoding="utf-8")
    table = re.search(r"Side by side.*?<table.*?>(.*?)</table>", page, re.DOTALL)
    assert table is not None
    rows = []
    for row in re.findall(r"<tr.*?>(.*?)</tr>", table[1], re.DOTALL):
        cells = re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL)
        rows.append([unescape(re.sub(r"<.*?>", "", cell)).strip() for cell in cells])
    head, *body = rows
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}


def stored(name, key):
    (row,) = (r for r in load(name) if r[key].startswith(SHAPE))
    return row


def number(text):
    return float(text.replace(",", ""))


@pytest.mark.parametrize(
    ("origin", "file", "case", "cycles"),
    [
        ("estimated", "estimates", "case", "estimated"),
        ("simulated", "full", "name", "cycles_per_token"),
    ],
)
def test_the_report_has_the_stored_speed(origin, file, case, cycles):
    rows = side_by_side()
    wanted = stored(file, case)[cycles]
    clock = stored("full", "name")["clock_mhz"]
    assert abs(number(rows["cycles per token"][origin]) - wanted) <= 0.5, "python -m bench.page"
    assert number(rows["clock, MHz"][origin]) == clock
    assert abs(number(rows["tokens/s"][origin]) - 1e6 * clock / wanted) <= 0.5


def test_the_report_has_the_stored_area():
    rows = side_by_side()
    wanted = next(row for row in load("synth") if row["machine"] == MACHINE)
    for label, key in (("LUT", "lut"), ("FF", "ff"), ("DSP", "dsp"), ("URAM", "uram")):
        assert number(rows[label]["synthesized"]) == wanted[key], "python -m bench.page"


def test_the_report_has_the_stored_accuracy():
    page = unescape(PAGE.read_text(encoding="utf-8"))
    for row in load("accuracy"):
        if row["method"] == "ours":
            ratio = f"{row['ratio']:.4f} ± {row['ratio_standard_error']:.4f}"
            assert ratio in page, "python -m bench.page"
