"""Runs on disk: killed and gone on with, refused where they are of another kind, removed after."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmamba.common import locks
from lightmamba.common.errors import InputError
from lightmamba.common.store import Store, read_store
from lightmamba.model.checkpoint import open_checkpoint
from lightmamba.model.qmodel import load, to_bytes
from lightmamba.model.qmodel.model import RMS_SHIFT
from lightmamba.numerics.formats import square_exponent
from lightmamba.quantization import Calibration, FileRun, Recipe, driver, quantize_checkpoint
from lightmamba.quantization.journal import Journal
from lightmamba.quantization.passes import Rotate
from lightmamba.quantization.streams import Rows
from tests.support.builders import sizes
from tests.support.checkpoints import write_transformers

CONFIG = sizes(d_model=64, n_layer=3, vocab_size=150)


def quick(name: str) -> Recipe:
    """A recipe that learns little."""
    recipe = Recipe.load(name)
    passes = (
        replace(each, steps=3) if isinstance(each, Rotate) else each for each in recipe.passes
    )
    return replace(recipe, passes=tuple(passes))


def given(root):
    return Calibration(ids=root / "ids.txt", sequences=24, seqlen=50)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A sharded checkpoint, ids, and the bytes of a run in memory."""
    root = tmp_path_factory.mktemp("journal")
    write_transformers(root / "ck", CONFIG, sharded=True)
    ids = np.random.default_rng(0).integers(0, 150, 1500)
    (root / "ids.txt").write_text(" ".join(map(str, ids)))
    made = quantize_checkpoint(open_checkpoint(root / "ck"), quick("w4a4"), given(root))
    return root, to_bytes(made)


def job(root, output, recipe="w4a4", **options):
    opened = open_checkpoint(root / "ck")
    ids, kind = given(root).tokens(opened, 0)
    return FileRun(opened, quick(recipe), ids, kind, output, least=0.0, **options)


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Values of a journal: which run it is, and how far that has come."""
    return {record.key: record.values for record in read_store(folder / "run.jsonl")}


class Stopped(Exception):
    pass


def stop_at(monkeypatch, owner, name, count, error=Stopped):
    """Let the ``count``-th call of a function fail."""
    real, left = getattr(owner, name), [count]

    def counted(*args, **options):
        left[0] -= 1
        if left[0] == 0:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(owner, name, counted)


def test_on_disk_and_in_memory_are_the_same_bytes(world, tmp_path):
    root, wanted = world
    run = job(root, tmp_path / "m.safetensors")
    run.run()
    assert run.output.read_bytes() == wanted
    assert list(tmp_path.iterdir()) == [run.output]  # the journal is gone


@pytest.mark.parametrize(
    ("owner", "name", "count"),
    [*((Rows, "write", count) for count in (1, 7, 20, 33)), (Store, "add", 2)],
)
def test_stopped_in_any_write_and_gone_on_with(world, tmp_path, monkeypatch, owner, name, count):
    root, wanted = world
    run = job(root, tmp_path / "m.safetensors")
    stop_at(monkeypatch, owner, name, count)
    with pytest.raises(Stopped):
        run.run()
    monkeypatch.undo()
    job(root, run.output).run()
    assert run.output.read_bytes() == wanted


def test_what_is_done_is_not_done_again(world, tmp_path, monkeypatch):
    root, _ = world
    run = job(root, tmp_path / "m.safetensors")
    stop_at(monkeypatch, Journal, "put", 4)  # the table, two layers, and now the third
    with pytest.raises(Stopped):
        run.run()
    monkeypatch.undo()
    read, real = [], type(run.checkpoint.weights).layer

    def watched(self, index):
        read.append(index)
        return real(self, index)

    monkeypatch.setattr(type(run.checkpoint.weights), "layer", watched)
    run.run()
    assert read == [2]


@pytest.mark.parametrize("least", [0.0, 1e9])
def test_only_what_is_worth_it_is_written_down(world, tmp_path, monkeypatch, least):
    root, wanted = world
    run = replace(job(root, tmp_path / "m.safetensors"), least=least)
    stop_at(monkeypatch, Journal, "put", 4)
    with pytest.raises(Stopped):
        run.run()
    monkeypatch.undo()
    assert records(run.folder)["facts"]["done"] == (0 if least else 2)
    streams = {path.name for path in run.folder.glob("*.bin")}
    layer = 0 if least else 2
    assert {f"float.{layer}.bin", f"integer.{layer}.bin"} <= streams
    run.run()
    assert run.output.read_bytes() == wanted


@pytest.fixture(scope="module")
def stopped(world, tmp_path_factory):
    """The journal of a run that ended where it kept its second layer."""
    root, _ = world
    run = job(root, tmp_path_factory.mktemp("stopped") / "m.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, Journal, "put", 3)
        with pytest.raises(Stopped):
            run.run()
    return run


@pytest.fixture
def begun(stopped, tmp_path):
    """As if the run had been started here."""
    run = replace(stopped, output=tmp_path / "m.safetensors")
    shutil.copytree(stopped.folder, run.folder)
    return run


def other_checkpoint(root, run):
    source = run.checkpoint.source
    source = replace(source, hashes=source.hashes | {"config.json": "0" * 64})
    return replace(run, checkpoint=replace(run.checkpoint, source=source))


OTHERS = {
    "seed": lambda root, run: replace(run, seed=1),
    "recipe": lambda root, run: replace(run, recipe=quick("w4a8")),
    "number of threads": lambda root, run: replace(run, threads=2),
    "calibration": lambda root, run: replace(run, ids=run.ids[::-1].copy()),
    "checkpoint": other_checkpoint,
}


def test_a_journal_of_another_run_is_refused_by_name(world, begun):
    root, wanted = world
    for what, other in OTHERS.items():
        with pytest.raises(InputError, match=f"journal of a run with another {what} ") as caught:
            other(root, begun).run()
        assert "delete the folder" in str(caught.value)
    begun.run()  # and is still good for its own
    assert begun.output.read_bytes() == wanted


def test_another_recipe_is_shown_where_it_differs(begun):
    text = begun.recipe.to_toml()
    other = Recipe.parse(text.replace('rounding = "dither"', 'rounding = "half_up"'), "other")
    with pytest.raises(
        InputError, match=r"another recipe \({ kind = .* \"dither\" },, not .*half_up\" },"
    ):
        replace(begun, recipe=other).run()


def test_an_exception_for_a_missing_layer_is_refused_before_the_journal(world, tmp_path):
    root, _ = world
    text = Recipe.load("w4a4").to_toml()
    text += '\n[[exception]]\nlayers = [99]\nprojection = "out_proj"\nweight_bits = 8\n'
    run = job(root, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="exception for layer 99, but the model's layers are 0 to"):
        replace(run, recipe=Recipe.parse(text, "mine"))
    assert not run.folder.exists()


def test_a_folder_of_something_else_is_refused_and_stays(world, tmp_path):
    root, _ = world
    run = job(root, tmp_path / "m.safetensors")
    run.folder.mkdir()
    mine = run.folder / "thesis.txt"
    mine.write_text("precious")
    with pytest.raises(InputError, match=r"holds thesis\.txt, so it is not the journal of a run"):
        run.run()
    assert [*run.folder.iterdir()] == [mine]


def test_a_file_that_somebody_put_into_a_journal_stays(world, begun):
    mine = begun.folder / "notes.txt"
    mine.write_text("precious")
    begun.run()
    assert begun.output.read_bytes() == world[1]
    assert [*begun.folder.iterdir()] == [mine]


@pytest.mark.parametrize("call", ["os.open", "fcntl.flock"])
def test_a_journal_that_is_removed_while_it_is_opened(tmp_path, monkeypatch, call):
    """Its last owner ends between two steps of the next one, which makes a folder of its own."""
    first, (module, name) = Journal(tmp_path / "j", {"run": 1}), call.split(".")
    real = getattr(vars(locks)[module], name)

    def after(*args):
        monkeypatch.undo()
        first.close(remove=True)
        return real(*args)

    monkeypatch.setattr(vars(locks)[module], name, after)
    second = Journal(tmp_path / "j", {"run": 2})
    with pytest.raises(InputError, match="is in use by another process"):
        Journal(tmp_path / "j", {"run": 3})
    assert records(tmp_path / "j")["run"] == {"run": 2}
    second.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_is_taken_over_while_it_is_removed(tmp_path, monkeypatch):
    """The lock goes last: files of a new owner stay."""
    first, real = Journal(tmp_path / "j", {"run": 1}), Path.rmdir

    def taken_over(folder):
        monkeypatch.undo()
        taken.append(Journal(folder, {"run": 2}))
        real(folder)

    taken: list[Journal] = []
    monkeypatch.setattr(Path, "rmdir", taken_over)
    first.close(remove=True)
    assert records(tmp_path / "j")["run"] == {"run": 2}
    taken[0].close(remove=True)


def cut(data):
    return data[:-20]


def with_a_flipped_bit(data):
    return data[:-5] + bytes([data[-5] ^ 4]) + data[-4:]


def with_other_values(data):
    """JSON as good as before, which says something else in its last line."""
    lines = data.splitlines(keepends=True)
    lines[-1] = lines[-1].replace(b'"done":1', b'"done":0')
    return b"".join(lines)


def of_another_run(data):
    return data.replace(b'"seed":0', b'"seed":1')


PARTS = ("layers.0.msgpack", "float.1.bin", "integer.1.bin")


@pytest.mark.parametrize(
    ("name", "damage"),
    [*((n, damage) for n in PARTS for damage in (cut, with_a_flipped_bit)),
     *(("run.jsonl", damage) for damage in (cut, with_other_values, of_another_run))],
)  # fmt: skip
def test_a_damaged_journal_is_refused(begun, name, damage):
    path = begun.folder / name
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    with pytest.raises(InputError, match=r"damaged; delete its folder"):
        begun.run()


@pytest.mark.parametrize("damage", [of_another_run, with_other_values, lambda data: b"thesis\n"])
def test_a_restart_empties_a_journal_that_it_cannot_go_on_with(world, begun, damage):
    path = begun.folder / "run.jsonl"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError):
        begun.run()
    replace(begun, restart=True).run()
    assert begun.output.read_bytes() == world[1]
    other = replace(begun, output=begun.output.with_name("other.st"))
    Journal(other.folder, {"another": "run"}).close(remove=False)
    with pytest.raises(InputError, match="journal of a run with another"):
        other.run()
    replace(other, restart=True).run()
    assert other.output.read_bytes() == world[1]


def test_a_missing_shard_is_named_and_put_back(world, begun, tmp_path):
    root, wanted = world
    index = json.loads((root / "ck" / "model.safetensors.index.json").read_text())
    shard = root / "ck" / index["weight_map"]["backbone.layers.2.mixer.in_proj.weight"]
    shard.rename(tmp_path / "away")
    with pytest.raises(
        InputError, match=f"{shard.name} is missing, .* put it back and start again"
    ):
        begun.run()
    (tmp_path / "away").rename(shard)
    begun.run()
    assert begun.output.read_bytes() == wanted


FULL = "the disk is full; make room, then start again"


@pytest.mark.parametrize(
    ("owner", "call", "count", "sentence"),
    [
        (os, "pwrite", 9, FULL),
        (os, "fsync", 9, FULL),
        (os, "posix_fallocate", 9, FULL),
        (Path, "replace", 1, "No space left on device"),  # the file itself, when all is done
    ],
)
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(
    world, tmp_path, monkeypatch, owner, call, count, sentence
):
    root, wanted = world
    run = job(root, tmp_path / "m.safetensors")
    stop_at(monkeypatch, owner, call, count, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(InputError, match=sentence):
        run.run()
    monkeypatch.undo()
    assert run.resumed
    run.run()
    assert run.output.read_bytes() == wanted


def test_an_outgrown_residual_begins_anew(world, tmp_path, monkeypatch):
    """The exponent is made far too narrow; the first wide value widens it for all."""
    root, wanted = world
    asked = []

    def narrow(largest, *rest):
        asked.append(largest)
        return square_exponent(largest, *rest) - (9 if len(asked) == 1 else 0)

    monkeypatch.setattr(driver, "square_exponent", narrow)
    run = job(root, tmp_path / "m.safetensors")
    run.run()
    assert len(asked) == 2
    assert run.output.read_bytes() == wanted  # the scan was right, and nothing was left behind
    model = load(run.output)
    assert model.residual_exp == square_exponent(
        asked[1], 32, RMS_SHIFT, CONFIG.eps * CONFIG.d_model
    )


@pytest.mark.parametrize("path", [True, False])
def test_rows(tmp_path, path):
    rows = Rows(10, 3, np.int32, tmp_path / "r.bin" if path else None)
    value = np.arange(12, dtype=np.int32).reshape(4, 3)
    rows.write(slice(5, 9), value)
    np.testing.assert_array_equal(rows.read(slice(6, 100)), [*value[1:], [0, 0, 0]])
    got = rows.read(slice(5, 9))
    got[:] = 7
    np.testing.assert_array_equal(rows.read(slice(5, 9)), value)
    rows.sync()
    rows.close()
    if path:
        again = Rows(10, 3, np.int32, tmp_path / "r.bin")
        np.testing.assert_array_equal(again.read(slice(5, 9)), value)
        again.close(remove=True)
        assert not (tmp_path / "r.bin").exists()
