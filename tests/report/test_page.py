"""The page: self-contained, every number on it, what is missing named."""

import re
from dataclasses import replace

import pytest

from lightmamba.hardware.estimate import Amount
from lightmamba.study.report import missing, render
from lightmamba.study.report.page import MISSING
from tests.report.cases import full, least, simulation, subject
from tests.report.reading import read


@pytest.fixture(scope="module")
def page():
    return render(full())


def test_nothing_is_fetched_and_nothing_runs(page):
    found = read(page)
    assert page.lstrip().startswith("<!DOCTYPE html>")
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    names = {name for _, name, _ in found.attributes}
    assert not {"src", "xlink:href"} & names
    referred = [value for _, name, value in found.attributes if name == "href"]
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert set(referred) <= {f"#{name}" for name in ids}
    assert len(ids) == len(set(ids))
    assert not [name for name in names if name.startswith("on")]
    assert "prefers-color-scheme: dark" in found.styles[0]
    assert "@media print" in found.styles[0]


def test_every_picture_says_what_it_is(page):
    found = read(page)
    assert found.tags.count("svg") == 9
    said = [value for tag, name, value in found.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(said) == 9
    assert all(said)


def test_headline_numbers_side_by_side(page):
    found = read(page)
    assert found.row("tokens/s") == ["tokens/s", "93", "306", "303", "–"]
    assert found.row("cycles per token")[1:] == ["–", "980,000", "989,800", "–"]
    assert found.row("cycles per token of a prompt")[2] == "901,234"
    assert found.row("clock, MHz")[1:] == ["200", "300", "300", "–"]
    # 31 channels of 42 MB and one of 89: worked by hand
    assert found.row("bytes per token")[1:] == ["1.43 GB*", "1.44 GB", "1.40 GB", "–"]
    assert found.row("tokens/J")[2] == "11 (6.3–16)"  # 1 / (0.159, 0.095, 0.063)
    assert found.row("LUT")[1:] == ["297,000", "214,776", "–", "233,555"]
    assert found.row("URAM")[1:] == ["61", "30", "–", "30"]
    assert "3.3 × the paper’s 93" in found.text


def test_kinds_of_passes_side_by_side(page):
    assert read(page).row("SSM works")[1:]
    report = least(subject(target="u280-t4"))
    one = report.estimate
    chunk = replace(one, tokens=4, cycles=900_000)
    found = read(render(replace(report, estimate=replace(one, modes={"prefill": chunk}))))
    assert "one token and 3 drafted ones" in found.text
    assert found.row("tokens") == ["tokens", "1", "4"]
    assert found.row("cycles") == ["cycles", "980,000", "900,000"]
    assert found.row("SSM works")[1:3] == ["66.9 %", "72.8 %"]
    assert found.row("tokens/J")[1:] == ["–"] * 2
    assert found.tags.count("svg") == 3


def test_all_that_is_given_stands_there(page):
    found = read(page)
    report = full()
    for what, cycles in report.estimate.stalls.items():
        assert f"{cycles:,}" in found.row(what.replace("_", " "))
    for unit, cycles in report.estimate.unit_cycles.items():
        assert f"{cycles:,}" in " ".join(found.row(unit) + found.row("lanes"))  # a block too
    assert report.synthesis is not None
    for name, amount in report.synthesis.blocks.items():
        rows = [row for row in found.cells if row and row[0].strip() == name]
        assert any(f"{amount.lut:,}" in row for row in rows)
    for number in ("1,303,680", "17.9 %", "2.93 ns", "341 MHz"):  # device, its share, the path
        assert number in found.text
    for number in ("45 (31–71)", "20 (12–33)", "30 (20–55)", "95 (63–159)"):  # energy
        assert number in found.text
    assert found.row("ours")[1:] == ["27.54", "1.0023 ± 0.0019", "0.0549", "84.0"]
    assert found.row("p16: 16 × 512 bits, 300 MHz, W4A4")[1:] == ["320", "32.0 %", "7.87"]
    assert "in_proj 12 → 1.4, out_proj 9.8 → 1.3" in found.text
    assert found.row("hbm0 … hbm31 (32)")[1:] == ["14.4 GB/s", "13.3 GB/s", "42.1 MB", "97.1",
                                                  "41.1 MB"]  # fmt: skip
    assert "2026-11-24" in found.text
    assert "lightmamba 0.1.0" in found.text


def test_published_figures_are_named(page):
    assert "for U280 by the authors' cycle-accurate simulation" in read(page).text


@pytest.mark.parametrize(
    ("shape", "target"),
    [("mamba2-130m", "vck190-paper"), ("mamba2-2.7b", "ecpix5"), ("demo", "tiny")],
)
def test_published_figures_are_not_of_another_model_or_board(shape, target):
    of = subject(shape, target)
    found = read(render(replace(least(of), simulation=simulation(of))))
    assert f"{shape} on {target}" in found.text
    assert "so they are not shown" in found.text
    assert "published" not in [cell.strip() for cell in found.cells[0]]


def test_what_is_missing_is_named_with_its_command(page):
    report = least()
    assert missing(report) == [name for name in MISSING if name != "timeline"]
    found = read(render(report))
    for name in missing(report):
        heading, command, _ = MISSING[name]
        assert heading in found.text
        assert command in found.text
    for heading in ("Resources", "Energy", "Accuracy", "Pareto front"):
        assert found.text.count(heading) == 1  # no section of its own
    assert missing(full()) == []
    assert "Not on this page" not in read(page).text


def test_a_simulation_without_activity_has_no_timeline():
    of = subject()
    report = replace(least(of), simulation=simulation(of, watched=False))
    assert "timeline" in missing(report)
    assert "A token in time" not in render(report)


def test_a_difference_between_hardware_and_engine_is_shouted():
    of = subject()
    broken = replace(simulation(of), matches_engine=False, difference="token 3, layer.1.ssm.y")
    found = read(render(replace(least(of), simulation=broken)))
    assert "the hardware differs from the engine: token 3, layer.1.ssm.y" in found.text
    assert "bit-exact" not in found.text


def test_names_are_escaped():
    of = replace(subject(), name="<script>alert(1)</script>&\"'")
    report = least(of)
    evil = "</style><img src=x onerror=alert(1)>"
    resources = {evil: Amount(1, 2, 3, 4, 5)}
    made = replace(report.made, command=evil, versions={evil: evil})
    report = replace(report, made=made, estimate=replace(report.estimate, resources=resources))
    page = render(replace(report, simulation=replace(simulation(of), matches_engine=False,
                                                     difference=evil)))  # fmt: skip
    found = read(page)
    assert not {"script", "img"} & set(found.tags)
    assert found.text.count(evil) == 5
    assert "<script>alert(1)</script>&\"' on u280" in found.text
