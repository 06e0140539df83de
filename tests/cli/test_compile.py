"""``lightmamba compile``."""

import shutil

import pytest

from lightmamba.hardware.compiler import open_model
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.qmodel import load
from lightmamba.numerics.model_formats import Formats

IMAGES = ("--target", "tiny", "--no-verilog")


def test_a_file(run, world, tmp_path):
    build = tmp_path / "build"
    found = run("compile", world.worded_file, *IMAGES, "-o", build, "--json").json
    artifact = Artifact.read(build)
    assert found["build"] == str(build)
    assert found["lanes"] == 4
    assert (
        found["image_bytes"]
        == artifact.image_bytes
        == sum(file.stat().st_size for file in (build / "images").iterdir())
    )
    assert found["instructions"] == 8
    assert (build / "model.safetensors").read_bytes() == world.worded_file.read_bytes()
    assert open_model(artifact).config == load(world.worded_file).config


def test_a_shape(run, tmp_path):
    options = ("--format", "w8a8", "--seed", "3")
    build = tmp_path / "build"
    said = run("compile", "demo", "--target", "ecpix5", "--no-verilog", "-o", build, *options)
    assert (said.status, said.out) == (0, f"{build}\n")
    assert "image_bytes" in said.err
    artifact = Artifact.read(build)
    assert artifact.model["seed"] == 3
    assert open_model(artifact, lazy=True).formats == Formats(8, 8, head_weight_bits=8)
    assert artifact.verilog is None


def test_the_rtl_is_asked_for(run, tmp_path, monkeypatch):
    pytest.importorskip("amaranth", reason="the RTL needs the extra 'rtl'")
    monkeypatch.setattr(
        "lightmamba.hardware.rtl.top.to_verilog", lambda arch, **told: f"{arch} {told}"
    )
    found = run("compile", "demo", "--target", "tiny", "-o", tmp_path / "b", "--json").json
    text = (tmp_path / "b" / "top.v").read_text()
    assert found["verilog_bytes"] == len(text)
    assert text.startswith("ArchConfig(lanes=4")
    assert "build_hash" in text


def test_hardware_that_is_reused_has_its_own_kinds(run, world, tmp_path):
    first = tmp_path / "first"
    assert run("compile", world.worded_file, *IMAGES, "-o", first).status == 0
    said = run("compile", world.worded_file, *IMAGES, "-o", tmp_path / "second", "--rtl", first,
               "--kinds", "mamba2")  # fmt: skip
    assert said.status == 2
    assert "--kinds is for new hardware; leave it out with --rtl" in said.err


@pytest.fixture(scope="module")
def changed(world, tmp_path_factory):
    """A build whose model has lost a bit after it was compiled."""
    path = tmp_path_factory.mktemp("changed") / "build"
    shutil.copytree(world.build, path)
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)
    return path


@pytest.mark.parametrize(
    "verb",
    [
        ("generate", "--prompt", "I", "--max-tokens", "2"),
        ("serve", "--port", "0"),
        ("selftest", "--device", "uio"),
        ("simulate",),
    ],
    ids=lambda verb: verb[0],
)
def test_a_build_with_a_changed_model_is_refused_by_every_verb(run, changed, verb):
    said = run(verb[0], changed, *verb[1:])
    assert (said.status, said.out) == (2, "")
    assert f"{changed}/model.safetensors has changed since it was compiled; compile" in said.err
