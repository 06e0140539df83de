"""Granite-H and Nemotron-H of random weights, as transformers saves them, through every verb."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lightmamba.model.data import demo_checkpoint
from lightmamba.model.qmodel import load
from tests.serve.running import expected, running, served
from tests.support.hybrids import granite, nemotron, saved

MODELS = {
    "granite": lambda: granite(hidden_size=128, vocab_size=2048, mamba_d_head=64),
    "nemotron": lambda: nemotron(hidden_size=128, vocab_size=2048),
}
KINDS = ("mamba2", "mlp", "attention")
SHORT = ("--sequences", 8, "--seqlen", 64, "--threads", 1)


@pytest.fixture(scope="module", params=MODELS)
def checkpoint(request, tmp_path_factory):
    """With the bundled model's tokenizer, so that it has words for text."""
    folder = saved(MODELS[request.param](), tmp_path_factory.mktemp("hybrid") / request.param)
    (folder / "tokenizer.json").write_bytes((demo_checkpoint() / "tokenizer.json").read_bytes())
    return folder


@pytest.fixture(scope="module")
def file(checkpoint):
    from lightmamba.cli import main

    path = checkpoint.parent / "w8a8.safetensors"
    words = ["quantize", checkpoint, "-o", path, "--recipe", "w8a8", *SHORT]
    assert main([str(word) for word in words]) == 0
    return path


def test_quantize_and_inspect(run, checkpoint, file):
    shape = run("inspect", checkpoint, "--json").json["config"]
    assert set(KINDS) == {layer["kind"] for layer in shape["layers"]}
    found = run("inspect", file, "--json").json
    assert found["config"] == shape
    text = run("inspect", file).out
    assert all(f"static exponents of {kind} layers" in text for kind in KINDS)


def test_every_kind_of_recipe(run, checkpoint, file, tmp_path):
    """Comparison recipes too: what they scale and shift is made up for in the rows before it.

    Both models have the same kinds of layers, so each takes two of the four.
    """
    ids = tmp_path / "ids.txt"
    ids.write_text(" ".join(map(str, np.random.default_rng(3).integers(0, 2048, 600))))

    def kl(path):
        return run("evaluate", path, "--against", checkpoint, "--ids", ids, "--json").json["kl"]

    assert kl(file) < 0.02
    recipes = {
        "granite": ("w4a4", "osplus-w8a8"), "nemotron": ("rtn-w4a8", "smoothquant-w4a4")
    }  # fmt: skip
    for recipe in recipes[checkpoint.name]:
        path = tmp_path / f"{recipe}.safetensors"
        assert run("quantize", checkpoint, "-o", path, "--recipe", recipe, *SHORT).status == 0
        assert kl(path) < (0.03 if "w8a8" in recipe else 0.5), recipe


def test_serve(file):
    """Answers of many clients at a time are those of `generate`, with the prefix cache too."""
    model = load(file)
    prompt = "It is a truth universally acknowledged, that a single man in possession of a" * 12

    def asked(n):
        options = {"max_tokens": 24, "seed": n, "temperature": 1.0}
        return {"prompt": prompt + " fortune" * (n % 3), **options}

    with running(served(model, slots=4)) as server:
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda n: server.ask(**asked(n)).text, range(24)))
        assert server.total("prefix_hits") > 0
    assert found == [expected(model, **asked(n)).text for n in range(24)]
