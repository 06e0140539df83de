"""The paper's table: its plan, its end, and what stands beside it."""

import shutil
import sys

import pytest
from bench import paper
from bench.paper import paper_table, published

from lightmamba.common.store import Record


def table(out):
    """Cells of the printed table by recipe and column."""
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in out.splitlines() if "|" in line]
    found: dict[str, dict[str, str]] = {}
    header: list[str] = []
    for line in lines:
        if line[:2] == ["model", "recipe"]:
            header = line
        elif line[0] != "---":
            found[line[1]] = dict(zip(header, line, strict=True))
    return found


@pytest.mark.parametrize(
    ("recipe", "zero_shot", "perplexity"),
    [("float", 60.2, 4.10), ("w4a4", 55.9, 6.35), ("rtn-w4a4", 51.6, 17.46),
     ("smoothquant-w8a8", 59.7, None), ("w8a8", 60.2, None)],
)  # fmt: skip
def test_the_papers_numbers_stand_beside_their_own_recipes(recipe, zero_shot, perplexity):
    claim = published(recipe)
    assert claim is not None
    assert (claim.zero_shot, claim.perplexity) == (zero_shot, perplexity)


def test_what_the_paper_does_not_give_is_left_empty():
    assert published("w4a8") is published("osplus-w4a8") is None
    claim = published("osplus-w4a4")
    assert claim is not None
    assert (claim.perplexity, claim.perplexity_above) == (None, 100)


def run(monkeypatch, world, tmp_path, *more):
    words = ["paper", "--models", str(world.root / "tiny"), "--data", str(tmp_path / "data"),
             "--sweep", str(tmp_path / "s"), "--workers", "0",
             "--sequences", "2", "--seqlen", "64", "--rows", "2"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [*words, *more])
    return paper.main()


def test_the_whole_command(world, tmp_path, monkeypatch, capsys):
    """On a tiny model, with two of the tasks, one method and two widths."""
    folder = tmp_path / "data" / "zero_shot"
    folder.mkdir(parents=True)
    for name in ("arc_easy", "arc_challenge"):
        shutil.copy(world.root / "choices.jsonl", folder / f"{name}.jsonl")
    monkeypatch.setattr(paper, "METHODS", ("rtn",))
    monkeypatch.setattr(paper, "WIDTHS", ("w8a8", "w4a4"))
    assert run(monkeypatch, world, tmp_path) == 0
    said = capsys.readouterr()
    assert "left out: there is no" in said.err
    assert "wiki.test.raw" in said.err
    rows = table(said.out)
    assert list(rows) == ["float", "rtn-w8a8", "rtn-w4a4"]
    for row in rows.values():
        means = [float(row[name].split(" ")[0]) for name in ("ARC-e, acc", "ARC-c, acc_norm")]
        assert float(row["tasks, mean"]) == pytest.approx(sum(means) / 2, abs=0.001)
    assert list(rows["rtn-w4a4"].values())[-2:] == ["51.6", "17.46"]
    lines = (tmp_path / "s" / "results.jsonl").read_bytes()
    assert run(monkeypatch, world, tmp_path) == 0  # all is there
    assert (tmp_path / "s" / "results.jsonl").read_bytes() == lines
    assert capsys.readouterr().out == said.out[said.out.index("| model | recipe") :]


def test_what_failed_is_said(world, tmp_path, monkeypatch, capsys):
    """A text that is too short to score: 1 as exit status, and a cell that says so."""
    (tmp_path / "short.txt").write_text("a")
    monkeypatch.setattr(paper, "METHODS", ())
    text, task = str(tmp_path / "short.txt"), str(world.root / "choices.jsonl")
    monkeypatch.setattr(paper, "TASKS", {})
    assert run(monkeypatch, world, tmp_path, "--texts", text, "--tasks", task) == 1
    said = capsys.readouterr().out
    assert "at least 2 are needed" in said
    assert "failed" in table(said)["float"].values()
    with pytest.raises(SystemExit):
        run(monkeypatch, world, tmp_path)
    assert "give --data DIR, --texts FILE or --tasks NAME" in capsys.readouterr().err


def test_a_mean_is_of_all_tasks_or_not_given():
    def record(recipe, task, value):
        what = {"model": "m", "recipe": recipe, "kind": "task", "measure": task, "metric": "acc"}
        done = {"metrics": {"acc": value}, "standard_errors": {"acc": 0.1}}
        return Record(f"{recipe} {task}", done if value else {"error": "no"}, what)

    records = [record("float", "a", 0.5), record("float", "b", 0.25)]
    records += [record("w4a4", "a", 0.5), record("w4a4", "b", None)]
    found = table(paper_table(records))
    assert (found["float"]["tasks, mean"], found["float"]["b, acc"]) == ("0.375", "0.25 ± 0.1")
    assert (found["w4a4"]["tasks, mean"], found["w4a4"]["b, acc"]) == ("", "failed")
