"""The verbs from outside: JSON alone on stdout, and one sentence for bad input."""

import errno
import json
import os
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lightmamba.cli import main
from lightmamba.config import Mamba2Config

from .support.models import write_state_spaces, write_tokenizer

SHAPE = Mamba2Config(
    d_model=192, n_layer=2, vocab_size=300, d_state=32, ngroups=2, tie_embeddings=False
)
QUICK = ["--sequences", "4", "--seqlen", "64"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint without a tokenizer, one with, ids, text, and a W8A8 file of each."""
    root = tmp_path_factory.mktemp("cli")
    write_state_spaces(root / "bare", SHAPE, seed=1)
    write_state_spaces(root / "ck", SHAPE, seed=1)
    write_tokenizer(root / "ck" / "tokenizer.json", SHAPE.vocab_size)
    rng = np.random.default_rng(0)
    (root / "ids.txt").write_text(" ".join(map(str, rng.integers(0, 300, 700))))
    (root / "text.txt").write_text("It was the best of times, it was the worst of times. " * 30)
    for name in ("bare", "ck"):
        assert run("quantize", root / name, "-o", root / f"{name}.st", "--recipe", "w8a8") == 0
    return root


def run(*words):
    words = [str(word) for word in words]
    return main(words + (QUICK if words[0] == "quantize" and "--sequences" not in words else []))


def answer(capsys, *words):
    """The one JSON object that a verb prints."""
    capsys.readouterr()
    assert run(*words, "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def refused(capsys, *words):
    """The one sentence of a verb that refuses."""
    capsys.readouterr()
    try:
        status = run(*words)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_quantize_says_what_it_made(place, capsys, tmp_path):
    out = answer(capsys, "quantize", place / "bare", "-o", tmp_path / "m.st")
    assert {"output", "bytes", "seconds", "peak_rss_bytes", "recipe"} <= set(out)
    assert (out["recipe"], out["bytes"]) == ("w4a4", (tmp_path / "m.st").stat().st_size)


def test_evaluate_ids_against_the_checkpoint(place, capsys):
    out = answer(capsys, "evaluate", place / "bare.st", "--ids", place / "ids.txt",
                 "--against", place / "bare")  # fmt: skip
    assert {"perplexity", "bits_per_byte", "standard_error", "tokens", "overflows"} <= set(out)
    assert {"ratio", "kl", "top1_agreement"} <= set(out)
    assert out["tokens"] == 699
    assert abs(out["ratio"] - 1) < 0.02
    # in the checkpoint's basis: had the rotation not been turned back, nothing would agree
    assert [layer["name"] for layer in out["layers"]] == ["layer.0.residual", "layer.1.residual"]
    assert all(layer["relative_error"] < 0.05 for layer in out["layers"])


def test_evaluate_text_and_a_task(place, capsys, tmp_path):
    rows = [{"query": "It was", "choices": [" the best", " zzz"], "gold": 0}] * 3
    task = tmp_path / "task.jsonl"
    task.write_text("\n".join(json.dumps(row) for row in rows))
    for model in (place / "ck.st", place / "ck"):
        out = answer(capsys, "evaluate", model, "--text", place / "text.txt", "--task", task)
        assert out["bits_per_byte"] > 0
        assert out["tasks"][0]["rows"] == 3


def test_inspect_file_checkpoint_and_picture(place, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    out = answer(capsys, "inspect", place / "bare.st")
    assert out["formats"]["weight_bits"] == 8
    assert len(out["origin"]["errors"]) == 5
    picture = tmp_path / "p.png"
    out = answer(capsys, "inspect", place / "bare", "--plot", picture)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert set(out["peaks"]) == {
        f"{n} {w}" for n in ("in_proj", "out_proj") for w in ("before", "after")
    }


def test_generate_is_seeded(place, capsys):
    words = ("generate", place / "ck.st", "--prompt", "It", "--max-tokens", 8, "--temperature", 1)
    first, again = (answer(capsys, *words, "--seed", 3) for _ in range(2))
    other = answer(capsys, *words, "--seed", 4)
    assert {"text", "token_ids", "tokens_per_second"} <= set(first)
    assert first["token_ids"] == again["token_ids"] != other["token_ids"]
    assert run(*words) == 0
    assert capsys.readouterr().out.startswith("It")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("evaluate", "{}/none.st", "--ids", "{}/ids.txt"), "is no file"),
        (("evaluate", "{}/bare.st"), "--text FILE"),
        (("evaluate", "{}/bare.st", "--text", "{}/text.txt"), "no tokenizer"),
        (("evaluate", "{}/ck.st", "--text", "{}/none.txt"), "none.txt"),
        (("evaluate", "{}/bare.st", "--ids", "{}/text.txt"), "token ids"),
        (("evaluate", "{}/bare.st", "--ids", "{}/ids.txt", "--text", "{}/text.txt"), "not both"),
        (("evaluate", "{}/bare.st", "--ids", "{}/ids.txt", "--window", "1"), "window"),
        (("generate", "{}/bare.st", "--prompt", "hi"), "no tokenizer"),
        (("generate", "{}/ck.st", "--prompt", ""), "prompt"),
        (("generate", "{}/ck.st", "--prompt", "a", "--temperature", "-1"), "temperature"),
        (("generate", "{}/ck.st", "--prompt", "a", "--top-p", "2"), "top_p"),
        (("generate", "{}/ck.st", "--prompt", "a", "--max-tokens", "0"), "max_tokens"),
        (("generate", "{}/ck", "--prompt", "a"), "ck"),
        (("inspect", "{}/bare.st", "--plot", "{}/p.png"), "float checkpoint"),
        (("inspect", "{}/nowhere"), "nowhere"),
        (("quantize", "{}/bare", "-o", "{}/bare.st"), "--force"),
        (("quantize", "{}/bare", "-o", "{}/no/such/m.st"), "no folder"),
        (("quantize", "{}/bare", "-o", "{}/m.st", "--recipe", "w3a3"), "w4a4"),
        (("quantize", "{}/bare", "-o", "{}/m.st", "--calibration", "{}/text.txt"), "no tokenizer"),
        (("quantize", "{}/ck", "-o", "{}/m.st", "--calibration-ids", "{}/ids.txt"), "at least"),
        (("quantize", "{}/ck", "-o", "{}/m.st", "--threads", "0"), "threads"),
        (("quantise", "{}/ck"), "see lightmamba --help"),
        (("quantize", "{}/ck"), "see lightmamba quantize --help"),
    ],
)  # fmt: skip
def test_bad_words_get_one_sentence(place, capsys, words, sentence):
    assert sentence in refused(capsys, *(word.format(place) for word in words))


def test_an_unknown_recipe_key(place, capsys, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[[pass]]\nkind = "quantize_weights"\nbitz = 4\n')
    assert "bitz" in refused(capsys, "quantize", place / "ck", "-o", tmp_path / "m.st",
                             "--recipe", recipe)  # fmt: skip


def test_damaged_files(place, capsys, tmp_path):
    data = (place / "bare.st").read_bytes()
    lying = struct.pack("<Q", 1 << 40) + data[8:]
    for name, damaged in {"cut": data[: len(data) // 2], "lying": lying, "empty": b""}.items():
        file = tmp_path / f"{name}.safetensors"
        file.write_bytes(damaged)
        assert name in refused(capsys, "inspect", file)


def test_infinite_weights_are_named(place, capsys, tmp_path):
    write_state_spaces(tmp_path / "ck", SHAPE, seed=1)
    weights = next((tmp_path / "ck").glob("*.safetensors"), None)
    if weights is None:
        weights = tmp_path / "ck" / "pytorch_model.bin"
        tensors = torch.load(weights, weights_only=True)
    else:
        tensors = load_file(weights)
    name = next(n for n in tensors if "out_proj" in n)
    tensors[name][0, 0] = float("nan")
    if weights.suffix == ".bin":
        torch.save(tensors, weights)
    else:
        save_file(tensors, weights)
    assert name in refused(capsys, "quantize", tmp_path / "ck", "-o", tmp_path / "m.st")


def test_a_full_disk_leaves_the_old_file(place, capsys, tmp_path, monkeypatch):
    file = tmp_path / "m.st"
    file.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in refused(capsys, "quantize", place / "bare", "-o", file, "--force")
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.st"]


def test_calibration_text_is_refused_for_evaluation(place, capsys, tmp_path):
    ids = np.random.default_rng(7).integers(0, 300, 4096)
    (tmp_path / "cal.txt").write_text(" ".join(map(str, ids)))
    made = tmp_path / "m.st"
    assert run("quantize", place / "bare", "-o", made, "--recipe", "rtn-w8a8", "--calibration-ids",
               tmp_path / "cal.txt", "--sequences", "16", "--seqlen", "256") == 0  # fmt: skip
    words = ("evaluate", made, "--ids", tmp_path / "cal.txt")
    assert "--allow-overlap" in refused(capsys, *words)
    assert answer(capsys, *words, "--allow-overlap")["calibration_overlap"] > 0.9
