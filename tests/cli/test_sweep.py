"""``lightmamba sweep``."""

import json
import sys

import pytest


@pytest.fixture(scope="module")
def plan(world):
    """A plan beside the checkpoint that it names."""
    path = world.root / "plan.toml"
    path.write_text(
        'models = ["worded"]\nrecipes = ["w8a8", "rtn-w4a8"]\ntexts = ["text.txt"]\n'
        'targets = ["tiny"]\n[calibration]\nsequences = 2\nseqlen = 64\n'
    )
    return path


def test_a_plan(run, plan, tmp_path):
    """A line for each job, a small table for each text and target, and where all of it lies."""
    said = run("sweep", plan, "-o", tmp_path / "s", "--workers", 0)
    assert said.status == 0, said.err
    assert said.out == f"{tmp_path / 's' / 'table.md'}\n"
    for words in ("worded, w8a8: quantized", "worded, rtn-w4a8: text, perplexity", "tokens/s",
                  "worded, rtn-w4a8, tiny: the model has block 128"):  # fmt: skip
        assert words in " ".join(said.err.split()), words
    table = (tmp_path / "s" / "table.md").read_text()
    assert table.startswith("| model | recipe | text, perplexity | tiny, tokens/s (estimated) |")
    assert "| worded | rtn-w4a8 |" in table
    assert "refused" in table
    again = run("sweep", plan, "-o", tmp_path / "s", "--workers", 0, "--json").json
    assert (again["kept"], again["done"], again["failed"]) == (4, 0, 0)
    assert [row["what"]["recipe"] for row in again["results"]] == ["w8a8"] * 2 + ["rtn-w4a8"] * 2
    shown = run("sweep", tmp_path / "s", "--json").json
    assert {row["key"] for row in again["results"]} < {row["key"] for row in shown["results"]}
    found = run("sweep", tmp_path / "s", "--compare", tmp_path / "s", "--json").json
    same = [(d["recipe"], d["same_inputs"]) for d in found["differences"]]
    assert same == [("w8a8", True), ("rtn-w4a8", True)]
    said = run("sweep", tmp_path / "s", "--compare", tmp_path / "s")
    assert said.out.count(" same ") == 2


def test_a_failure_is_told_and_ends_in_status_1(run, world, tmp_path):
    """The text was calibrated on; the target is estimated all the same."""
    plan = tmp_path / "plan.toml"
    text = json.dumps(str(world.text))
    plan.write_text(
        f"models = [{json.dumps(str(world.worded))}]\nrecipes = ['w8a8']\ntexts = [{text}]\n"
        f"targets = ['tiny']\n[calibration]\ntext = {text}\nsequences = 8\nseqlen = 128\n"
    )
    said = run("sweep", plan, "-o", tmp_path / "s", "--workers", 0, "--json")
    assert said.status == 1
    rows = {row["what"]["kind"]: row["values"] for row in json.loads(said.out)["results"]}
    assert "of the evaluated text occurs in the text" in rows["text"]["error"]
    assert "error" not in rows["target"]
    shown = run("sweep", tmp_path / "s")
    assert shown.status == 1
    assert "failed" in (tmp_path / "s" / "table.md").read_text()


@pytest.mark.parametrize("words", [("--workers", 2), ("--address", "127.0.0.1:1")])
def test_ray_is_named_where_it_is_missing(run, plan, tmp_path, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "lightmamba.study.sweep.on_ray", raising=False)
    said = run("sweep", plan, "-o", tmp_path / "s", *words)
    assert "ray is not installed; try: pip install '.[sweep]' (in a clone of" in said.refusal


def test_without_ray_a_sweep_runs_here(run, world, tmp_path, monkeypatch):
    from lightmamba.study.sweep import api

    monkeypatch.setattr(api, "find_spec", lambda name: None)
    words = ("--model", "demo", "--recipe", "w4a4", "--target", "tiny")
    assert run("sweep", *words, "-o", tmp_path / "s", "--json").json["done"] == 1
