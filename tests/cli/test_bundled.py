"""The models that the package ships, by name."""

import pytest

from lightmamba.engine import Engine
from lightmamba.evaluate import compare
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.checkpoint import load_checkpoint
from lightmamba.model.config import ModelConfig
from lightmamba.model.data import austen, demo_checkpoint, demo_file, hybrid_checkpoint, hybrid_file
from lightmamba.model.qmodel import load
from lightmamba.model.tokenizer import Tokenizer

LARGEST = 6_000_000  # bytes of the hybrid's folder and file


def test_the_hybrid_is_small_and_has_every_kind():
    model = load(hybrid_file())
    assert isinstance(model.config, ModelConfig)
    assert set(model.config.kinds) == {"mamba2", "attention", "mlp"}
    files = [*hybrid_checkpoint().iterdir(), hybrid_file()]
    assert sum(file.stat().st_size for file in files if file.suffix != ".md") < LARGEST


def test_both_have_one_tokenizer():
    words = [Tokenizer.from_bytes((folder / "tokenizer.json").read_bytes()) for folder in
             (demo_checkpoint(), hybrid_checkpoint())]  # fmt: skip
    text = austen()[2][:5000]
    assert words[0].encode(text).tolist() == words[1].encode(text).tolist()
    assert load(demo_file()).valid_vocab == load(hybrid_file()).valid_vocab


def test_the_hybrids_file_is_as_good_as_its_checkpoint():
    found = load_checkpoint(hybrid_checkpoint())
    assert found.tokenizer is not None
    ids = Tokenizer.from_bytes(found.tokenizer).encode(austen()[2])[:4096]
    both = compare(
        Engine(load(hybrid_file())), FloatModel(found.model, found.valid_vocab), ids, threads=2
    )
    assert both.ratio < 1.03
    assert both.kl < 0.08


@pytest.mark.parametrize("name", ["bundled", "bundled-hybrid"])
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
