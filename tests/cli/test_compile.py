"""``lightmamba compile``."""

import pytest

from lightmamba.arch.target import Target
from lightmamba.hardware.compiler import build, open_model
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


@pytest.mark.parametrize(
    "verb",
    [
        ("inspect", "{build}"),
        ("generate", "{build}", "--prompt", "I", "--max-tokens", "2"),
        ("evaluate", "{build}", "--text", "{root}/text"),
        ("serve", "{build}", "--port", "0"),
        ("selftest", "{build}", "--device", "uio"),
        ("simulate", "{build}"),
        ("report", "{build}", "-o", "{root}/page.html"),
    ],
    ids=lambda verb: verb[0],
)
def test_a_build_with_a_changed_model_is_refused_by_every_verb(run, changed, verb):
    words = [word.format(root=changed.parent, build=changed) for word in verb]
    said = run(*words)
    assert (said.status, said.out) == (2, "")
    assert f"{changed}/model.safetensors has changed since it was compiled; compile" in said.err


@pytest.fixture(scope="module")
def changed(world, tmp_path_factory):
    """A build whose model has lost a bit after it was compiled."""
    folder = tmp_path_factory.mktemp("changed")
    (folder / "text").write_text("It was a dark and stormy night.")
    model = load(world.worded_file)
    build(model, Target.load("tiny"), folder / "build", source=world.worded_file)
    path = folder / "build/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return folder / "build"


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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("none.st", *IMAGES), "there is no file none.st; give a quantized file, or a shape: "),
        (("{root}", *IMAGES), "is a folder, not a quantized file; make one with: lightmamba"),
        (("{plain_file}", *IMAGES), "activations of 8 bits do not fit multiplier_bits 4; set"),
        (("{worded_file}", *IMAGES, "--seed", "1"), "--format and --seed are for shapes"),
        (("demo", *IMAGES, "--format", "w2"), "--format must be one of w4a4, w4a8, w8a8, not w2"),
        (("demo", *IMAGES, "--seed", "-1"), "--seed must be from 0 to 2**63 - 1, not -1; try 0"),
    ],
)
def test_refusals(run, world, tmp_path, words, sentence):
    places = {"root": world.root, "plain_file": world.plain_file, "worded_file": world.worded_file}
    said = run("compile", *(w.format(**places) for w in words), "-o", tmp_path / "b")
    assert sentence in said.refusal
    assert list(tmp_path.iterdir()) == []


def test_an_existing_build_is_kept_unless_forced(run, tmp_path):
    build = tmp_path / "b"
    assert run("compile", "demo", *IMAGES, "-o", build, "--json").json
    before = (build / "manifest.json").read_bytes()
    assert "--force" in run("compile", "demo", *IMAGES, "-o", build, "--seed", "1").refusal
    assert (build / "manifest.json").read_bytes() == before
    assert run("compile", "demo", *IMAGES, "-o", build, "--seed", "1", "--force", "--json").json
    assert (build / "manifest.json").read_bytes() != before


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--kinds", "mamba2,mlpp"), "there are no layers of kind 'mlpp'; --kinds takes some of"),
        (("--kinds", "mlp"), "hardware would have units for mlp only; try --kinds mamba2"),
        (("--context", "4096"), "keeps anything of every token, so sequences may be of any length"),
        (("--sequences", "4"), "no layer of this hardware keeps keys and values"),
    ],
)  # fmt: skip
def test_kinds_and_context_that_cannot_be(run, world, tmp_path, flags, sentence):
    said = run("compile", world.worded_file, *IMAGES, "-o", tmp_path / "build", *flags)
    assert (said.status, said.out) == (2, "")
    assert sentence in said.err
    assert not (tmp_path / "build").exists()


def test_hardware_that_is_reused_has_its_own_kinds(run, world, tmp_path):
    first = tmp_path / "first"
    assert run("compile", world.worded_file, *IMAGES, "-o", first).status == 0
    said = run("compile", world.worded_file, *IMAGES, "-o", tmp_path / "second", "--rtl", first,
               "--kinds", "mamba2")  # fmt: skip
    assert said.status == 2
    assert "--kinds is for new hardware; leave it out with --rtl" in said.err
