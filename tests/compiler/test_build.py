"""The whole of compile: the same bytes every time, and the model comes back."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import build, open_model, read_build
from lightmamba.hardware.machine.artifact import build_hash
from lightmamba.hardware.machine.manifest import seal
from lightmamba.model.config import SHAPES
from lightmamba.model.qmodel import load, save, to_bytes
from tests.compiler.cases import compiled, sizes
from tests.support.builders import W4A8, random_model, shipped
from tests.support.layers import sizes_of


def contents(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def test_the_same_model_gives_the_same_bytes(tmp_path):
    compiled("groups", tmp_path / "a")
    compiled("groups", tmp_path / "b")
    one = contents(tmp_path / "a")
    assert one == contents(tmp_path / "b")
    assert {"manifest.json", "program.bin", "model.safetensors", "images/lane3.bin"} <= set(one)
    compiled("groups", tmp_path / "c", order="naive")
    other = contents(tmp_path / "c")
    assert one["images/lane0.bin"] != other["images/lane0.bin"]
    assert one["images/embedding.bin"] == other["images/embedding.bin"]


def test_the_model_is_kept(tmp_path):
    model, artifact = compiled("w4a4", tmp_path / "build")
    assert artifact.model["kind"] == "file"
    assert to_bytes(open_model(artifact)) == to_bytes(model)
    file = tmp_path / "m.safetensors"
    save(replace(model, tokenizer=b"{}"), file)
    again = build(load(file), shipped(), tmp_path / "again", source=file)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == file.read_bytes()
    again.verify()


def test_a_random_model_is_made_again_from_its_seed(tmp_path):
    config = sizes(n_layer=3, dt_limit=(0.001, float("inf")))
    model = random_model(config, W4A8, seed=5, lazy=True)
    artifact = build(model, shipped(multiplier_bits=8), tmp_path / "lazy")
    assert "model.safetensors" not in artifact.files
    assert artifact.model["seed"] == 5
    whole = random_model(config, W4A8, seed=5)
    for found in (open_model(artifact), replace(open_model(artifact, lazy=True))):
        assert (found.config, found.formats) == (config, W4A8)
        assert to_bytes(replace(found, layers=tuple(found.layers))) == to_bytes(whole)
    same = build(whole, shipped(multiplier_bits=8), tmp_path / "whole")
    images = {name for name in same.files if name.startswith("images/")}
    assert all(same.files[name] == artifact.files[name] for name in images)
    ids = np.array([[1, 2, 3]])
    lazy = Engine(open_model(artifact, lazy=True), compiled=False)
    eager = Engine(whole, compiled=False)
    one, other = (e.forward(ids, e.empty_state(1))[0] for e in (lazy, eager))
    np.testing.assert_array_equal(one, other)


def test_layers_are_made_one_by_one(tmp_path, monkeypatch):
    made: list[Any] = []
    monkeypatch.setattr("lightmamba.model.qmodel.synthetic._layer", _counted(made))
    model = random_model(sizes(n_layer=4), lazy=True)
    seen: list[tuple[int, int]] = []
    build(model, shipped(), tmp_path / "b", progress=lambda done, total: seen.append((done, total)))
    assert len(made) == 4
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5)]


def _counted(made):
    from lightmamba.model.qmodel.synthetic import _layer

    def count(*arguments):
        made.append(arguments)
        return _layer(*arguments)

    return count


def test_verilog_comes_from_outside(tmp_path):
    model = random_model(sizes())
    artifact = build(model, shipped(), tmp_path / "b", verilog=lambda arch: f"module m; {arch}")
    assert artifact.verilog is not None
    assert artifact.verilog.read_text() == f"module m; {artifact.arch}"
    assert artifact.verilog.name == "top.v"
    assert build(model, shipped(), tmp_path / "c").verilog is None


def test_a_failure_leaves_nothing_and_the_old_build_whole(tmp_path):
    def fail(arch):
        raise RuntimeError("no Verilog today")

    model = random_model(sizes())
    with pytest.raises(RuntimeError, match="no Verilog today"):
        build(model, shipped(), tmp_path / "b", verilog=fail)
    assert list(tmp_path.iterdir()) == []
    build(model, shipped(), tmp_path / "b")
    before = contents(tmp_path / "b")
    with pytest.raises(RuntimeError, match="no Verilog today"):
        build(model, shipped(), tmp_path / "b", verilog=fail, force=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]
    assert contents(tmp_path / "b") == before


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A build of random weights, and its manifest."""
    folder = tmp_path_factory.mktemp("made") / "b"
    build(random_model(SHAPES["demo"], lazy=True), Target.load("tiny"), folder)
    return folder, (folder / "manifest.json").read_text()


def refused(made: Any, lie: Callable[[dict[str, Any]], Any], reason: str) -> None:
    """A build whose manifest was changed, and is sealed again, must be refused in one sentence."""
    folder, text = made
    values = json.loads(text)
    lie(values)
    values["sha256"] = seal(values)
    (folder / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="make it again with: lightmamba compile MODEL") as caught:
        open_model(read_build(folder), lazy=True)
    assert reason in str(caught.value)
    (folder / "manifest.json").write_text(text)
    open_model(read_build(folder), lazy=True)


def test_the_hash_is_of_what_the_machine_has(tmp_path):
    _, artifact = compiled("w4a4", tmp_path / "build")
    values = artifact.arch.to_dict()
    hashed = json.loads(artifact.arch.to_json())  # without what only attention has
    assert hashed.items() < values.items()
    assert "attention_rows" not in hashed


LAYER = {"kind": "mamba2", "count": 1, **asdict(sizes_of(sizes()))}


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({"kind": 3}, "kind must be a text, not 3"),
        ({"kind": "cloud"}, "its kind is 'cloud', expected file or random"),
        ({"seed": "x"}, "seed must be a whole number, not 'x'"),
        ({"seed": -1}, "its seed is out of range"),
        ({"formats": {}}, "formats.weight_bits is missing"),
        ({"config": 3}, "config must be a table, not 3"),
        ({"config": {"d_model": 64}}, "config.layers is missing"),
        ({"config": {"layers": [LAYER | {"dt_limit": None}]}}, "dt_limit must be a list, not None"),
        ({"config": {"layers": [LAYER | {"kind": "x"}]}}, "kind is 'x', expected one of "),
    ],
)
def test_a_manifest_that_does_not_say_which_model(made, lie, reason):
    refused(made, lambda values: values["model"].update(lie), reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vocab_size": 2047}, "its regions are not those of its sizes"),
        ({"d_model": 512}, "the hardware has in_channels 256, but the model needs 512"),
    ],
)
def test_sizes_that_are_not_those_of_the_build(made, change, reason):
    refused(made, lambda values: values["model"]["config"].update(change), reason)


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (600, "the model has n_layer 600, but the hardware"),
        (1 << 40, "count is 1099511627776, expected 1 to 4096"),
    ],
)
def test_an_endless_model_is_noticed_before_it_is_made(made, count, reason):
    refused(made, lambda v: v["model"]["config"]["layers"][0].update(count=count), reason)


@pytest.mark.parametrize(
    "registers",
    [
        {"head_beats": 1},
        {"speed": 1},
        {"magic": 1},
        {"layers": [6]},
        {"logits_base": 1 << 64},
        {"logits_base": {"channel": "state", "region": "state"}},
        {"logits_base": {"channel": "aux", "region": "logits", "offset": 64}},
    ],
)
def test_registers_are_those_of_the_model(made, registers):
    reason = "its registers are not those of its sizes"
    refused(made, lambda values: values["registers"].update(registers), reason)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("state", {"channel": "moon"}),
        ("state", {"name": "lane0"}),
        ("state", {"name": "hstate"}),
        ("state", {"address": -1}),
        ("state", {"bytes": 0}),
        ("logits", {"address": 3}),
        ("logits", {"address": 1 << 44}),
        ("logits", {"file": "program.bin"}),
    ],
)
def test_regions_are_those_of_the_model(made, name, change):
    def lie(values):
        region = next(each for each in values["regions"] if each["name"] == name)
        region.update(change)
        if region["file"]:
            region["bytes"] = values["files"][region["file"]]["bytes"]

    refused(made, lie, "its regions are not those of its sizes")


def test_the_machine_is_that_of_the_target(made):
    def lie(values):
        values["arch"]["burst_beats"] = 8
        values["hash"] = build_hash(ArchConfig.from_dict(values["arch"]))

    refused(made, lie, "the hardware has burst_beats 8, but model and target make it 16")
