"""The paper's table: its plan, its end, and what stands beside it."""

import shutil
import sys

import pytest
from bench import paper
from bench.paper import paper_table, published


def table(out):
    """Cells of the printed tables by row and column."""
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in out.splitlines() if "|" in line]
    found: dict[str, dict[str, str]] = {}
    header: list[str] = []
    for line in lines:
        if line[0] == "model, recipe":
            header = line
        elif line[0] != "---":
            found.setdefault(line[0], {}).update(zip(header, line, strict=True))
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


@pytest.fixture
def kept(monkeypatch):
    """Records for the docs: the benchmark, its rows, their command."""
    found = []
    monkeypatch.setattr(
        paper, "keep", lambda name, *rows, command, stay: found.append((name, rows, command))
    )
    return found


def run(monkeypatch, world, tmp_path, *more):
    words = ["paper", "--models", str(world.root / "tiny"), "--data", str(tmp_path / "data"),
             "--sweep", str(tmp_path / "s"), "--workers", "0",
             "--sequences", "2", "--seqlen", "64", "--rows", "2"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [*words, *more])
    return paper.main()


def test_the_whole_command(world, tmp_path, monkeypatch, capsys, kept):
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
    assert list(rows) == ["tiny, float", "tiny, `rtn-w8a8`", "tiny, `rtn-w4a4`"]
    columns = list(rows["tiny, float"])
    assert columns[1] == "tasks, mean"
    assert columns[-2:] == ["ARC-e, acc", "ARC-c, acc_norm"]
    for row in rows.values():
        means = [float(row[name].split(" ")[0]) for name in columns[-2:]]
        assert float(row["tasks, mean"]) == pytest.approx(sum(means) / 2, abs=0.11)
    assert list(rows["tiny, `rtn-w4a4`"].values())[2:4] == ["51.6", "17.46"]
    assert kept == []
    lines = (tmp_path / "s" / "results.jsonl").read_bytes()
    assert run(monkeypatch, world, tmp_path, "--keep") == 0  # all is there
    assert (tmp_path / "s" / "results.jsonl").read_bytes() == lines
    assert capsys.readouterr().out == said.out[said.out.index("| model, recipe") :]
    ((name, found, command),) = kept
    assert (name, len(found)) == ("paper", 6)
    assert command == "python -m bench.paper --models tiny --rows 2 --sequences 2 --seqlen 64"


def test_what_failed_is_said(world, tmp_path, monkeypatch, capsys, kept):
    """A text that is too short to score: 1 as exit status, and a cell that says so."""
    (tmp_path / "short.txt").write_text("a")
    monkeypatch.setattr(paper, "METHODS", ())
    text, task = str(tmp_path / "short.txt"), str(world.root / "choices.jsonl")
    monkeypatch.setattr(paper, "TASKS", {})
    assert run(monkeypatch, world, tmp_path, "--keep", "--texts", text, "--tasks", task) == 1
    said = capsys.readouterr().out
    assert "at least 2 are needed" in said
    failed = kept[0][1][0]
    assert ("error" in failed, failed["figures"]) == (True, {})
    assert "failed" in table(said)["tiny, float"].values()
    with pytest.raises(SystemExit):
        run(monkeypatch, world, tmp_path)
    assert "give --data DIR, --texts FILE or --tasks NAME" in capsys.readouterr().err


def test_a_mean_is_of_all_tasks_or_not_given():
    def row(recipe, task, figures):
        return {"model": "m", "recipe": recipe, "kind": "task", "measure": task, "metric": "acc",
                "figures": figures}  # fmt: skip

    rows = [row("float", "a", {"a, acc": [0.5, None]}), row("float", "b", {"b, acc": [0.25, 0.1]}),
            row("w4a4", "a", {"a, acc": [0.5, None]}), row("w4a4", "b", {})]  # fmt: skip
    found = table(paper_table(rows))
    assert found["m, float"]["tasks, mean"] == "37.5"
    assert found["m, float"]["b, acc"] == "25.0 ± 10"
    assert (found["m, `w4a4`"]["tasks, mean"], found["m, `w4a4`"]["b, acc"]) == ("", "failed")
