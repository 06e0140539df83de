"""``lightmamba report``."""

import pytest

from lightmamba.common.store import read_store
from tests.cli.cases import needs_verilator
from tests.report.cases import least, subject_of
from tests.report.reading import read
from tests.sim.machines import CONFIG
from tests.support.builders import random_model


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    """An estimate whose numbers are known."""
    monkeypatch.setattr(
        "lightmamba.cli.report.estimate",
        lambda *machine, context=None: least(subject_of("x", *machine)).estimate,
    )


def test_a_shape(run, tmp_path):
    page = tmp_path / "page.html"
    words = ("report", "mamba2-2.7b", "--target", "u280", "-o", page)
    found = run(*words, "--json").json
    assert found["output"] == str(page)
    assert found["bytes"] == page.stat().st_size
    assert found["missing"] == [
        "simulation",
        "resources",
        "energy",
        "outliers",
        "accuracy",
        "front",
    ]
    text = read(page.read_text()).text
    assert "mamba2-2.7b on u280" in text
    assert "lightmamba report mamba2-2.7b --target u280 -o page.html" in text
    assert f"{found['tokens_per_second']:.0f}" in text
    said = run(*words, "--format", "w8a8", "--target", "vck190-paper", "--force")
    assert (said.status, said.out) == (0, f"{page}\n")
    assert "W8A8" in page.read_text()
    assert read(page.read_text()).row("tokens/s")[1] == "3.61"  # the paper's, of the same bits


def test_a_file_with_results_and_its_checkpoint(run, world, tmp_path):
    page, results = tmp_path / "page.html", tmp_path / "results.jsonl"
    words = ("evaluate", world.worded_file, "--text", world.text, "--against", world.worded)
    ratio = run(*words, "--results", results, "--json").json["ratio"]
    found = run(
        "report", world.worded_file, "--target", "tiny", "-o", page, "--results", results,
        "--checkpoint", world.worded, "--json",
    ).json  # fmt: skip
    assert found["missing"] == ["simulation", "resources", "energy", "front"]
    text = read(page.read_text()).text
    assert f"{world.worded_file.stem} on tiny" in text
    assert f"{ratio:.4f} ± " in text
    assert f"Inputs of the projections of {world.worded.name}, layer" in text


@needs_verilator
def test_simulated_for_the_page_and_from_a_file(run, build, tmp_path):
    page, stored = tmp_path / "page.html", tmp_path / "stored.jsonl"
    found = run("report", build, "-o", page, "--simulate", "2", "--json").json
    assert "simulation" not in found["missing"]
    assert "timeline" not in found["missing"]
    first = read(page.read_text())
    assert "A token in time" in first.text
    assert "state-space unit" in first.text
    run("simulate", build, "--max-tokens", "2", "--chain", "2", "--results", stored, "--json")
    again = run("report", build, "-o", page, "--results", stored, "--json", "--force").json
    assert again["simulated_tokens_per_second"] == found["simulated_tokens_per_second"]
    for name in ("cycles per token", "multiplying", "bytes per token"):
        assert read(page.read_text()).row(name) == first.row(name)
    (record,) = read_store(stored)
    cycles = record.values["cycles_per_token"]
    assert f"{cycles:,.0f}" in first.row("cycles per token")
    words = ("report", "demo", "--target", "tiny", "-o", page, "--results", stored, "--force")
    assert "is of another target than demo on tiny" in run(*words).refusal


@needs_verilator
def test_hardware_that_differs_fails(run, build, tmp_path, monkeypatch):
    """The page is written, with what was found, and the status says so."""
    page = tmp_path / "page.html"
    monkeypatch.setattr(
        "lightmamba.device.sim.opened.open_model", lambda _: random_model(CONFIG, seed=9)
    )
    said = run("report", build, "-o", page, "--simulate", "1")
    assert said.status == 1
    assert "hardware and engine differ: token 0, embedding[0, 0, 0]: " in said.err
    assert page.is_file()
