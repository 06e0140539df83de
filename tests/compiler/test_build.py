"""The whole of compile: the same bytes every time, and the model comes back."""

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import build, open_model
from lightmamba.hardware.machine.artifact import Artifact
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


def test_a_build_that_does_not_say_its_model(tmp_path):
    _, artifact = compiled("w4a4", tmp_path / "build")
    manifest = tmp_path / "build" / "manifest.json"
    values = json.loads(manifest.read_text())
    values["model"] = {"kind": "guess"}
    values["sha256"] = seal(values)
    manifest.write_text(json.dumps(values))
    with pytest.raises(InputError, match="does not say which model it runs"):
        open_model(Artifact.read(tmp_path / "build"))
    assert artifact.arch.to_dict() == values["arch"]
    hashed = json.loads(artifact.arch.to_json())  # without what only attention has
    assert hashed.items() < values["arch"].items()
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
def test_a_manifest_that_does_not_say_which_model(tmp_path, lie, reason):
    artifact = build(random_model(SHAPES["demo"], lazy=True), Target.load("tiny"),
                     tmp_path / "b")  # fmt: skip
    with pytest.raises(InputError, match="does not say which model it runs") as caught:
        open_model(replace(artifact, model=dict(artifact.model) | lie))
    assert reason in str(caught.value)


def test_sizes_that_are_not_those_of_the_build(tmp_path):
    """A manifest that promises a smaller or an endless model is noticed before it is made."""
    model = random_model(SHAPES["demo"], lazy=True)
    artifact = build(model, Target.load("tiny"), tmp_path / "b")
    open_model(artifact, lazy=True)
    (layers,) = artifact.model["config"]["layers"]
    lies: tuple[tuple[dict[str, Any], str], ...] = (
        ({"vocab_size": 2047}, "its regions are not those of its sizes"),
        (
            {"layers": [layers | {"count": 600}]},
            "the model has n_layer 600, but the hardware",
        ),
        ({"layers": [layers | {"count": 1 << 40}]}, "count is 1099511627776, expected 1 to 4096"),
        ({"d_model": 512}, "the hardware has in_channels 256, but the model needs 512"),
    )
    for change, reason in lies:
        config = artifact.model["config"] | change
        with pytest.raises(InputError, match=reason):
            open_model(replace(artifact, model=dict(artifact.model) | {"config": config}))
    registers = dict(artifact.registers) | {"head_beats": 1}
    with pytest.raises(InputError, match="its registers are not those of its sizes"):
        open_model(replace(artifact, registers=registers))
