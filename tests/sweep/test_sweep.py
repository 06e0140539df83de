"""A whole sweep of a tiny model in this process, and what its numbers are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as replaced

from lightmamba.cli import main
from lightmamba.common.files import code_hash
from lightmamba.study.sweep import Entry, compared, is_done, markdown, read_results, sweep, table_of
from lightmamba.study.sweep.job import Order
from lightmamba.study.sweep.runner import attempt
from tests.sweep.conftest import World


def settled(record):
    """The part of a record that does not depend on the run."""
    return record.what, record.values, record.made["code"], record.made["threads"]


@pytest.fixture(scope="module")
def swept(world, tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("swept") / "s"
    found = sweep(world.plan, folder, workers=0)
    assert (found.kept, found.done) == (0, 8)
    assert all(is_done(record) for record in found.records), found.records
    return folder


def test_the_numbers_are_those_of_evaluate(world: World, swept, capsys):
    ours = [record for record in read_results(swept) if record.what["recipe"] == "w8a8"]
    rows = {record.what["measure"]: record.values for record in ours}
    file = str(swept / "files" / rows.pop(None)["file"])
    words = ("--text", world.root / "text.txt", "--task", world.root / "choices.jsonl")
    options = ("--window", "64", "--threads", "1", "--json")
    assert main(["evaluate", file, *map(str, words), *options]) == 0
    said = json.loads(capsys.readouterr().out)
    for name in ("perplexity", "standard_error", "bits_per_byte", "tokens"):
        assert rows["text"][name] == pytest.approx(said[name], rel=1e-12)
    assert rows["text"]["calibration_overlap"] == said["calibration_overlap"]
    assert rows["choices"]["metrics"] == said["tasks"][0]["metrics"]


def test_a_second_sweep_keeps_all_and_names_it_anew(world, swept):
    before = (swept / "results.jsonl").read_bytes()
    text = (Entry("text.txt", "renamed"),)
    found = sweep(replace(world.plan, texts=text), swept, workers=0)
    assert (found.kept, found.done) == (6, 0)
    assert {record.what["measure"] for record in found.records} == {"renamed", "choices"}
    assert (swept / "results.jsonl").read_bytes() == before


def test_another_text_is_another_job_on_the_same_files(world, swept, tmp_path):
    files = {file: file.stat().st_mtime_ns for file in (swept / "files").iterdir()}
    (tmp_path / "other.txt").write_text((world.root / "text.txt").read_text()[:600])
    plan = replace(world.plan, texts=(Entry(str(tmp_path / "other.txt")),), against=True)
    found = sweep(plan, swept, workers=0)
    assert (found.kept, found.done) == (3, 3)  # the tasks are those of before
    assert {file: file.stat().st_mtime_ns for file in (swept / "files").iterdir()} == files
    rows = {
        record.what["recipe"]: record.values
        for record in found.records
        if record.what["measure"] == "other"
    }
    assert "ratio" not in rows["float"]
    for recipe in ("w8a8", "rtn-w4a8"):
        ratio = rows[recipe]["perplexity"] / rows["float"]["perplexity"]
        assert rows[recipe]["ratio"] == pytest.approx(ratio)
    assert 0 < rows["w8a8"]["kl"] < rows["rtn-w4a8"]["kl"]


def test_a_file_without_its_row_is_not_made_again(world, swept, tmp_path):
    """As after a kill between the two."""
    kept = tmp_path / "s"
    (kept / "files").mkdir(parents=True)
    (kept / "results.jsonl").touch()
    for file in (swept / "files").iterdir():
        (kept / "files" / file.name).hardlink_to(file)
    stamps = {file.stat().st_mtime_ns for file in (kept / "files").iterdir()}
    found = sweep(world.plan, kept, workers=0)
    assert {file.stat().st_mtime_ns for file in (kept / "files").iterdir()} == stamps
    old = {record.key: settled(record) for record in read_results(swept)}
    assert all(settled(record) == old[record.key] for record in read_results(kept))
    assert found.done == 8


def test_a_target_is_estimated_and_a_refusal_is_a_result(world, tmp_path):
    plan = replace(
        world.plan,
        models=(Entry("demo"),),
        texts=(),
        tasks=(),
        recipes=(Entry("w4a4"), Entry("rtn-w4a4")),
        targets=(Entry("tiny"),),
    )
    found = sweep(plan, tmp_path / "s", workers=0)
    ours, refused = (record.values for record in found.records)
    assert ours["tokens_per_second"] == pytest.approx(3065, rel=0.05)  # simulated: docs
    assert "by a recipe that has it, such as w4a4" in refused["refused"]
    assert sweep(plan, tmp_path / "s", workers=0).kept == 2
    assert not (tmp_path / "s" / "files").exists()


def test_inputs_that_changed_meanwhile_are_refused(world, tmp_path):
    def said(job, **changes):
        order = Order(job, tmp_path, 1, code_hash())
        return attempt(replace(order, **changes)).values.get("error")

    text = tmp_path / "text.txt"
    text.write_text((world.root / "text.txt").read_text())
    plan = replace(world.plan, texts=(Entry(str(text)),), recipes=(Entry("float"),))
    job, task = plan.jobs()
    assert said(job) is None
    assert "has another LightMamba" in str(said(job, code="x"))
    assert "does not see the folder" in str(said(job, folder=Path("/nowhere/to/be/seen")))
    text.write_text("another text")
    assert "is not what it was when the plan was made" in str(said(job))
    other = replace(job.model, hashes=(*job.model.hashes[:-1], ("x", "y")))
    assert "is not the one that the plan was made with" in str(said(replace(task, model=other)))


def test_a_mistake_of_ours_keeps_its_trace(world, tmp_path, monkeypatch):
    def broken(*rest):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("lightmamba.study.sweep.verbs._run_task", broken)
    found = sweep(replace(world.plan, recipes=(Entry("float"),)), tmp_path / "s", workers=0)
    good, bad = found.records
    assert is_done(good)
    assert bad.values["error"] == "RuntimeError: two\nlines"
    assert "in broken" in bad.values["trace"]
    assert markdown(table_of(found.records), [bad]).endswith(
        "- tiny, float, choices: RuntimeError: two lines\n"
    )


def test_tables(world, swept):
    found = table_of(read_results(swept))
    assert found.columns[:2] == ("text, perplexity", "choices, acc")
    assert list(found.rows) == [("tiny", r) for r in ("float", "w8a8", "rtn-w4a8")]
    lines = markdown(found).splitlines()
    assert lines[0].startswith("| model | recipe | text, perplexity | choices, acc")
    assert len({line.count("|") for line in lines}) == 1


def test_two_sweeps_compare_cell_by_cell(swept):
    records = [record for record in read_results(swept) if record.what["measure"] == "text"]
    keys = ("another", records[2].key)
    other = [
        replaced(record, key=key, values={**record.values, "perplexity": 7.0})
        for key, record in zip(keys, records[1:], strict=True)
    ]
    found = compared(records, other)
    assert [d.recipe for d in found] == [record.what["recipe"] for record in records[1:]]
    assert [d.same_inputs for d in found] == [False, True]
    for d, record in zip(found, records[1:], strict=True):
        assert (d.before, d.after) == (record.values["perplexity"], 7.0)
        assert d.error == pytest.approx(2**0.5 * record.values["standard_error"])
