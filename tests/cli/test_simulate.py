"""``lightmamba simulate``, ``generate --device sim`` and ``inspect BUILD``, on a small machine."""

import json
import shutil

import pytest

from lightmamba.arch.artifact import MANIFEST
from lightmamba.qmodel.synthetic import random_model
from tests.sim.machines import CONFIG, TARGET, compiled

needs_verilator = pytest.mark.skipif(
    shutil.which("verilator") is None, reason="Verilator is missing: apt-get install verilator"
)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("builds"), CONFIG, TARGET)


@needs_verilator
def test_the_gates_match(run, build):
    found = run("simulate", build, "--prompt-ids", "3 5", "--max-tokens", "3", "--json").json
    assert found["matches_engine"] is True
    assert len(found["token_ids"]) == 3
    assert found["tokens"] == 4
    assert sum(found["stalls"].values()) >= 3 * found["cycles_per_token"]
    assert found["simulated_cycles_per_second"] > 0
    said = run("simulate", build, "--prompt-ids", "3 5", "--max-tokens", "3")
    assert said.out.split() == [str(i) for i in found["token_ids"]]
    assert "every observable of every token equals the engine's" in said.err


@needs_verilator
def test_a_difference_is_named_and_fails(run, build, monkeypatch):
    """The engine is given another model than the gates."""
    monkeypatch.setattr("lightmamba.sim.opened.open_model", lambda _: random_model(CONFIG, seed=9))
    said = run("simulate", build, "--json")
    found = json.loads(said.out)
    assert said.status == 1
    assert found["matches_engine"] is False
    assert found["difference"].startswith("token 0, embedding[0, 0, 0]: ")
    assert "(cycle " in found["difference"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--prompt", "It"),
            "the model has no tokenizer, so text cannot be read; try --prompt-ids",
        ),
        (("--prompt-ids", "1 x"), "--prompt-ids takes numbers, such as \"1 2 3\", not '1 x'"),
        (("--prompt-ids", "1 53"), "token id 53 is out of range; ids are 0 to 49"),
        (("--prompt-ids", " "), "the prompt has no tokens"),
        (("--prompt-ids", "1", "--prompt", "It"), "give either --prompt or --prompt-ids, not both"),
        (("--max-tokens", "0"), "--max-tokens must be at least 1, not 0"),
        (("--stalls", "1"), "stalls must be a probability in 0..0.9, not 1.0"),
    ],
)
@needs_verilator
def test_refusals(run, build, words, sentence):
    assert sentence in run("simulate", build, *words).refusal


def test_something_else_than_a_build(run, tmp_path):
    assert "is no build directory; make one with" in run("simulate", tmp_path).refusal
    assert (
        "is no build directory"
        in run("generate", tmp_path, "--device", "sim", "--prompt", "I").refusal
    )


def test_a_damaged_build(run, build, tmp_path):
    copy = tmp_path / "build"
    shutil.copytree(build, copy)
    image = copy / "images/lane0.bin"
    image.write_bytes(bytes([image.read_bytes()[0] ^ 1]) + image.read_bytes()[1:])
    assert "has changed since it was compiled" in run("simulate", copy).refusal
    (copy / MANIFEST).write_text("{")
    assert "is damaged" in run("simulate", copy).refusal


def test_inspect_shows_a_build(run, build):
    found = run("inspect", build, "--json").json
    assert found["kind"] == "build"
    assert found["arch"]["lanes"] == 2
    assert {r["name"] for r in found["regions"]} >= {"lane0", "lane1", "state", "logits"}
    assert "lane1" in run("inspect", build).err


@needs_verilator
def test_without_a_tokenizer_gates_write_no_text(run, build):
    assert "has no tokenizer" in run("generate", build, "--device", "sim", "--prompt", "I").refusal
