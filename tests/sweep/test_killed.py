"""A job that was killed goes on where it was, and ends with the same bytes and the same numbers."""

import multiprocessing
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lightmamba.cli import main
from lightmamba.evaluate.journal import Journal as Evaluation
from lightmamba.quantization import driver
from lightmamba.quantization.journal import Journal
from lightmamba.study.sweep import is_done, read_results, sweep
from tests.quantization.test_journal import records as records_of
from tests.support.checkpoints import WORDED
from tests.sweep.conftest import World
from tests.sweep.killed import dying
from tests.sweep.test_sweep import settled

LAYERS = WORDED.n_layer
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)


def killed(world: World, folder: Path, when: str, count: int) -> None:
    """A sweep of a process of its own, killed."""
    child = multiprocessing.get_context("fork").Process(
        target=dying, args=(world.root, folder, when, count)
    )
    child.start()
    child.join()
    assert child.exitcode == -9


def files_of(folder: Path) -> dict[str, bytes]:
    """Content of all files in the folder of the quantized ones."""
    return {file.name: file.read_bytes() for file in (folder / "files").iterdir()}


def of_another_code(monkeypatch):
    """From now on sweeps are of another code."""
    for place in ("verbs", "api"):
        monkeypatch.setattr(f"lightmamba.study.sweep.{place}.code_hash", lambda: "other")


@pytest.fixture
def layers(monkeypatch):
    """How often each layer was quantized."""
    seen: Counter[int] = Counter()
    real = driver.Lowering._layer

    def counted(lowering, i, *rest):
        seen[i] += 1
        return real(lowering, i, *rest)

    monkeypatch.setattr(driver.Lowering, "_layer", counted)
    return seen


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory) -> Path:
    """A sweep that nothing stopped."""
    folder: Path = tmp_path_factory.mktemp("whole") / "s"
    assert all(is_done(record) for record in sweep(world.plan, folder, workers=0).records)
    return folder


def same(one: Path, other: Path) -> None:
    rows, wanted = ({r.key: settled(r) for r in read_results(f)} for f in (one, other))
    assert rows == wanted
    assert files_of(one) == files_of(other)


def test_a_file_goes_on_from_its_journal(world, whole, tmp_path, layers):
    """Killed in the second layer of the first file, and again in its head."""
    folder = tmp_path / "s"
    for count, done in ((3, 1), (2, LAYERS)):  # parts: embedding, layers, head
        killed(world, folder, "part", count)
        (journal,) = (folder / "files").iterdir()  # the file itself is not there
        assert journal.name.endswith(".safetensors.journal")
        assert records_of(journal)["facts"]["done"] == done
    sweep(world.plan, folder, workers=0)
    assert layers == dict.fromkeys(range(LAYERS), 1)  # the second file's alone
    same(folder, whole)


def test_a_file_of_another_run_is_begun_anew(world, tmp_path, layers, monkeypatch):
    folder = tmp_path / "s"
    killed(world, folder, "part", 3)
    of_another_code(monkeypatch)
    plan = replace(world.plan, recipes=world.plan.recipes[1:2], tasks=())
    found = sweep(plan, folder, workers=0)
    assert all(is_done(record) for record in found.records)
    assert layers == dict.fromkeys(range(LAYERS), 1)
    assert [file.suffix for file in (folder / "files").iterdir()] == [".safetensors"]


def test_a_journal_in_use_is_left_alone(world, tmp_path):
    plan = replace(world.plan, recipes=world.plan.recipes[1:2], tasks=())
    (job,) = plan.jobs()
    assert job.file is not None
    (tmp_path / "s" / "files").mkdir(parents=True)
    (tmp_path / "s" / "results.jsonl").touch()
    other = Journal(tmp_path / "s" / "files" / f"{job.file.key}.safetensors.journal", {"other": 1})
    (record,) = sweep(plan, tmp_path / "s", workers=0).records
    other.close(remove=False)
    assert "is in use by another" in record.values["error"]
    assert records_of(other.folder)["run"] == {"other": 1}


@pytest.fixture
def records(monkeypatch):
    """Records that evaluations wrote."""
    seen = []
    real = Evaluation.add

    def noted(journal, record):
        seen.append(record)
        real(journal, record)

    monkeypatch.setattr(Evaluation, "add", noted)
    return seen


def test_an_evaluation_goes_on_from_its_journal(world, whole, tmp_path, records):
    """Killed while it writes down the third unit of the first text; two others follow."""
    folder = tmp_path / "s"
    killed(world, folder, "record", 3)
    (journal,) = (folder / "journals").iterdir()
    assert len(journal.read_text().splitlines()) == 4  # with the head, and half a record
    sweep(world.plan, folder, workers=0)
    units = [r.what["unit"] for r in records if r.what["part"] == "the text"]
    every = sorted(set(units))
    assert [units.count(unit) for unit in every[:4]] == [2, 2, 3, 3]
    same(folder, whole)
    assert not list((folder / "journals").iterdir())


@pytest.mark.slow
def test_what_another_code_found_is_not_gone_on_with(world, tmp_path, records, monkeypatch):
    killed(world, tmp_path / "s", "record", 3)
    of_another_code(monkeypatch)
    plan = replace(world.plan, recipes=world.plan.recipes[:1], tasks=())
    (record,) = sweep(plan, tmp_path / "s", workers=0).records
    assert is_done(record)
    assert records[0].what["unit"] == 0


def test_the_bytes_are_those_of_quantize(world, whole, tmp_path):
    """A file of a sweep is what the command makes of the same words."""
    (made,) = (
        r for r in read_results(whole)
        if (r.what["kind"], r.what["recipe"]) == ("quantize", "w8a8")
    )  # fmt: skip
    file = tmp_path / "m.safetensors"
    words = ("--recipe", "w8a8", "--sequences", "4", "--seqlen", "64", "--threads", "1")
    more = ("-o", str(file), "--torch-device", "cpu", "--json")
    assert main(["quantize", str(world.root / "tiny"), *words, *more]) == 0
    assert (whole / "files" / made.values["file"]).read_bytes() == file.read_bytes()
