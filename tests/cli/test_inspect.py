"""``lightmamba inspect``."""

import re
from dataclasses import replace

import pytest
import torch

from lightmamba.model.checkpoint import save_checkpoint
from lightmamba.model.config import mamba2_config
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import fingerprint, load, save
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.numerics.model_formats import FormatException, Formats
from lightmamba.text import render_chat
from tests.support.builders import random_model
from tests.support.checkpoints import float_model


def test_a_quantized_file(run, world):
    found = run("inspect", world.plain_file, "--json").json
    assert found["kind"] == "quantized model"
    assert found["config"]["d_model"] == 192
    assert found["config"]["layers"][0]["dt_limit"] == ["0.0", "inf"]
    assert (found["formats"]["weight_bits"], found["formats"]["act_bits"]) == (8, 8)
    assert len(found["layers"]) == 2
    assert found["runs_on_hardware"] is True
    assert found["bytes_per_token"]["projections"] > 100_000
    assert found["origin"]["errors"]["layers.1.out_proj"] < 0.05
    assert 'name = "w8a8"' in found["origin"]["recipe"]
    assert found["sha256"] == fingerprint(world.plain_file)


def test_a_checkpoint(run, world):
    found = run("inspect", world.plain, "--json").json
    assert found["kind"] == "float checkpoint"
    assert found["config"]["layers"][0]["ngroups"] == 2
    assert found["tokenizer"] is False
    assert found["valid_vocab"] == 300
    assert found["parameters"] == 616_304
    assert set(found["source"]["hashes"]) == {"config.json", "model.safetensors"}


def test_people_get_tables(run, world):
    said = run("inspect", world.worded_file)
    assert (said.status, said.err) == (0, "")
    assert "hash of all contents, verified" in said.out
    for word in ("d_model", "weight_bits", "projections", "conv_x", "layers.0.in_proj"):
        assert word in said.out
    assert '\nname = "w4a4"\n' in said.out  # the recipe
    said = run("inspect", world.worded)
    assert (said.status, said.err) == (0, "")
    assert "d_state" in said.out


def test_exceptions_have_a_table(run, tmp_path):
    excepted = Formats(exceptions=(FormatException(1, "out_proj", 8, 4),))
    save(random_model(formats=excepted), tmp_path / "m.safetensors")
    said = run("inspect", tmp_path / "m.safetensors").out
    assert re.search(r"1 +\S+ out_proj +\S+ +8 +\S+ +4", said)
    assert "'projection'" not in said


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """A checkpoint with a few channels that its norms make 30 times as large."""
    folder = tmp_path_factory.mktemp("heavy")
    model = float_model(mamba2_config(d_model=256, n_layer=2, vocab_size=300, d_state=16))
    generator = torch.Generator().manual_seed(1)
    for layer in model.layers:
        layer.norm[torch.randperm(256, generator=generator)[:8]] *= 30
        layer.mixer.norm[torch.randperm(512, generator=generator)[:12]] *= 30
    save_checkpoint(model, folder)
    return folder


def drawn(found, png):
    """Layer of a picture in which the rotations have made the peaks smaller."""
    peaks = found["peaks"]
    for name in ("in_proj", "out_proj"):
        assert peaks[f"{name} before"] > 5
        assert peaks[f"{name} after"] < 0.4 * peaks[f"{name} before"]
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.stat().st_size > 20_000
    return found["layer"]


def test_the_picture_of_outliers_before_and_after(run, heavy, tmp_path):
    png = tmp_path / "ranges.png"
    assert drawn(run("inspect", heavy, "--plot", png, "--json").json, png) in (0, 1)


def test_a_picture_is_not_overwritten(run, heavy, tmp_path, monkeypatch):
    png = tmp_path / "ranges.png"
    png.write_text("dear")
    with monkeypatch.context() as patch:
        patch.setattr(
            "lightmamba.model.checkpoint.load_checkpoint", lambda *_, **__: pytest.fail("read")
        )
        refused = run("inspect", heavy, "--plot", png).refusal
    assert f"{png} exists; give another name, or --force to replace it" in refused
    assert png.read_text() == "dear"
    words = ("inspect", heavy, "--plot", png, "--layer", 1, "--force", "--json")
    assert drawn(run(*words).json, png) == 1


def test_people_get_the_peaks_and_the_path(run, heavy, tmp_path):
    svg = tmp_path / "ranges.svg"
    said = run("inspect", heavy, "--plot", svg, "--layer", 0)
    assert said.out.endswith(f"\n{svg}\n")
    assert "out_proj after" in said.out
    assert svg.read_text().startswith("<?xml")


def test_a_saved_tokenizer_is_read_by_transformers(run, world, tmp_path):
    """Transformers reads the folder: ids, special tokens and the chat template are the model's."""
    transformers = pytest.importorskip("transformers")
    template = "{{ bos_token }}{{ messages[0].content }}"
    model = load(world.worded_file)
    model = replace(model, special_ids={"bos": 3, "eos": [5, 4]}, chat_template=template)
    save(model, tmp_path / "worded.safetensors")
    for name, file in (("bundled", demo_file()), ("worded", tmp_path / "worded.safetensors")):
        folder = tmp_path / name
        assert run("inspect", file, "--save-tokenizer", folder).out.startswith(f"{folder}\n")
        written = sorted(path.name for path in folder.iterdir())
        assert written == ["tokenizer.json", "tokenizer_config.json"]
        found = transformers.AutoTokenizer.from_pretrained(folder)
        ours = Tokenizer.from_bytes(load(file).tokenizer or b"")
        special = ["<|endoftext|>A — £"] if name == "bundled" else []
        for text in ("It was a dark and stormy night.", " two  blanks , and\nlines", *special):
            ids = ours.encode(text).tolist()
            assert found(text).input_ids == ids
            assert found.decode(ids, skip_special_tokens=True) == ours.decode(ids)
        if special:
            assert (found.bos_token_id, found.eos_token_id, found.pad_token_id) == (0, 0, 0)
    assert (found.bos_token_id, found.eos_token_id, found.pad_token) == (3, 5, None)
    chat = [{"role": "user", "content": "It"}]
    wanted = render_chat(template, chat, special_tokens={"bos_token": ours.token(3) or ""})
    assert found.apply_chat_template(chat, tokenize=False) == wanted


def test_a_tokenizer_is_not_saved_over_another(run, world, tmp_path):
    folder = tmp_path / "tokenizer"
    assert run("inspect", world.worded_file, "--save-tokenizer", folder).status == 0
    before = (folder / "tokenizer.json").read_bytes()
    said = run("inspect", "bundled", "--save-tokenizer", folder)
    assert "tokenizer.json exists; give another name, or --force to replace it" in said.refusal
    assert (folder / "tokenizer.json").read_bytes() == before
    assert run("inspect", "bundled", "--save-tokenizer", folder, "--force").status == 0
    assert (folder / "tokenizer.json").read_bytes() == load(demo_file()).tokenizer
