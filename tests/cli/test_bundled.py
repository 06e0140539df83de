"""The models that the package ships, by name."""

import pytest

from lightmamba.cli import main
from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.evaluate import compare
from lightmamba.model import data
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.checkpoint import load_checkpoint
from lightmamba.model.config import ModelConfig
from lightmamba.model.data import (
    austen,
    demo_checkpoint,
    demo_file,
    experts_checkpoint,
    experts_file,
    hybrid_checkpoint,
    hybrid_file,
)
from lightmamba.model.qmodel import load
from lightmamba.model.tokenizer import Tokenizer

LARGEST = 6_000_000  # bytes of the hybrid's folder and file


def test_the_hybrid_is_small_and_has_every_kind():
    model = load(hybrid_file())
    assert isinstance(model.config, ModelConfig)
    assert set(model.config.kinds) == {"mamba2", "attention", "mlp"}
    files = [*hybrid_checkpoint().iterdir(), hybrid_file()]
    assert sum(file.stat().st_size for file in files if file.suffix != ".md") < LARGEST


def test_all_have_one_tokenizer():
    folders = demo_checkpoint(), hybrid_checkpoint(), experts_checkpoint()
    words = [Tokenizer.from_bytes((folder / "tokenizer.json").read_bytes()) for folder in folders]
    text = austen()[2][:5000]
    encoded = [each.encode(text).tolist() for each in words]
    assert encoded[0] == encoded[1] == encoded[2]
    files = demo_file(), hybrid_file(), experts_file()
    assert len({load(file).valid_vocab for file in files}) == 1


FILES = {"hybrid": (hybrid_file, hybrid_checkpoint), "experts": (experts_file, experts_checkpoint)}


@pytest.mark.parametrize(("file", "checkpoint"), FILES.values(), ids=FILES)
def test_a_file_is_as_good_as_its_checkpoint(file, checkpoint):
    found = load_checkpoint(checkpoint())
    assert found.tokenizer is not None
    ids = Tokenizer.from_bytes(found.tokenizer).encode(austen()[2])[:4096]
    both = compare(Engine(load(file())), FloatModel(found.model, found.valid_vocab), ids, threads=2)
    assert both.ratio < 1.03
    assert both.kl < 0.08


def test_float_weights_of_experts_are_in_the_repository(monkeypatch, tmp_path, capsys):
    """Where they are not, as in an installed wheel, one sentence says so."""
    (tmp_path / "experts").mkdir()
    monkeypatch.setattr(data, "__file__", str(tmp_path / "__init__.py"))
    sentence = "bundled-experts is installed as a quantized file only;"
    with pytest.raises(InputError, match=sentence):
        experts_checkpoint()
    with pytest.raises(SystemExit):
        main(["quantize", "bundled-experts", "-o", str(tmp_path / "m.safetensors")])
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("name", ["bundled", "bundled-hybrid", "bundled-experts"])
def test_names(run, name):
    words = ("--prompt", "It was", "--max-tokens", 8, "--json")
    assert len(run("generate", name, *words).json["token_ids"]) == 8
    assert run("inspect", name, "--json").json


@pytest.mark.slow
@pytest.mark.board
def test_the_hybrid_runs_on_the_accelerator(run, tmp_path):
    """A minute, most of it to build the simulator."""
    run("compile", "bundled-hybrid", "--target", "tiny", "-o", tmp_path / "b")
    words = ("--prompt", "It is a truth", "--max-tokens", 4, "--json")
    found = run("simulate", tmp_path / "b", *words).json
    assert found["matches_engine"]
    assert found["token_ids"] == run("generate", "bundled-hybrid", *words).json["token_ids"]
