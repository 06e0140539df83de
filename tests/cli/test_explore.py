"""``lightmamba explore``, with an estimate that is made up and exact."""

import re

import pytest

from lightmamba.arch.target import Target
from lightmamba.cli import explore
from lightmamba.common.store import read_store
from lightmamba.study.explore import accuracy
from lightmamba.study.explore.files import to_toml
from tests.explore import standin
from tests.support.checkpoints import WORDED, write_state_spaces

RATIOS = {"w4a4": 1.05, "w4a8": 1.01, "w8a8": 1.001, "w4a4-block16": 1.04}
FEW = ("--trials", "40")
FAST = (*FEW, "--objectives", "speed,size,energy")


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A target with a device, and the made-up estimate of it."""
    monkeypatch.setattr(explore, "estimate_pass", standin.estimate)
    monkeypatch.setattr(explore, "resources", standin.area)
    file = tmp_path / "base.toml"
    file.write_text(to_toml(standin.target().to_dict()))
    return file


@pytest.fixture
def measured(monkeypatch):
    """Names of the schemes whose accuracy was asked for; the numbers are made up."""
    asked = []

    def measure(scheme, checkpoint, *, tokens, threads, progress):
        asked.append((scheme.name, tokens))
        return {"ratio": RATIOS[scheme.name], "standard_error": 0.001, "kl": 0.01}

    monkeypatch.setattr(accuracy, "measure", measure)
    return asked


def test_a_point_compiles(run, base, tmp_path):
    out = tmp_path / "front"
    found = run("explore", "demo", "--target", base, "--out", out, *FAST, "--json").json
    assert found["out"] == str(out)
    assert found["trials"] == 40
    assert found["trials"] >= found["machines"] >= found["fitting"] >= found["points"] > 1
    assert set(found["best"]) == {"tokens_per_second", "device_share", "tokens_per_joule"}
    assert found["base"]["machine"]["lanes"] == 4
    content = read_store(out / "front.jsonl")[0].values
    assert len(content["points"]) == found["points"]
    assert (out / "front.png").read_bytes().startswith(b"\x89PNG")
    fastest = found["best"]["tokens_per_second"]
    toml = out / fastest["target"]
    assert Target.load(str(toml)).clock_mhz == fastest["clock_mhz"]
    words = ("demo", "--format", fastest["scheme"], "--target", toml, "--no-verilog")
    built = run("compile", *words, "-o", tmp_path / "build", "--json").json
    assert built["lanes"] == fastest["machine"]["lanes"]
    assert built["target"] == f"tiny-{fastest['name']}"


def test_a_study_goes_on(run, base, measured, tmp_path):
    words = ("explore", "demo", "--target", base, "--study", tmp_path / "study", "--json")
    schemes = ("--schemes", "w4a4,w8a8,w4a4-block16", "--accuracy-tokens", "300")
    half = run(*words, *schemes, "--out", tmp_path / "a", "--trials", "20").json
    assert half["trials"] == 20
    more = run(*words, *schemes, "--out", tmp_path / "a", *FEW).json
    assert more["trials"] == 40
    assert measured == [("w4a4", 300), ("w8a8", 300), ("w4a4-block16", 300)]  # once each
    assert {name: one["accuracy_only"] for name, one in more["accuracy"].items()} == {
        "w4a4": False, "w8a8": False, "w4a4-block16": True,
    }  # fmt: skip
    assert more["accuracy"]["w4a4-block16"]["ratio"] == 1.04
    assert more["best"]["perplexity_ratio"]["scheme"] == "w8a8"
    again = run(*words[:-1], *schemes, "--out", tmp_path / "b", *FEW)
    assert again.out == f"{tmp_path / 'b'}\n"
    assert "no: accuracy only" in again.err
    assert (tmp_path / "a/front.jsonl").read_text() == (tmp_path / "b/front.jsonl").read_text()
    other = run(*words, *schemes, "--out", tmp_path / "b", *FEW, "--seed", "1")
    assert other.status == 0  # another search: its trials are added
    assert (tmp_path / "a/front.jsonl").read_text() != (tmp_path / "b/front.jsonl").read_text()
    assert measured[3:] == []


def test_accuracy_is_measured_where_it_separates(run, base, measured, world, tmp_path):
    words = ("--target", base, *FEW)
    said = run("explore", world.plain_file, *words, "--out", tmp_path / "a")
    assert measured == []
    assert "all configurations are w8a8 and equally accurate" in said.err
    names = re.findall(r"\bp\d+\b", said.err)
    assert len(names) == len(set(names)) > 0  # a row for each point
    some = ("--schemes", "w8a8,w4a4-block16")
    found = run("explore", world.plain_file, *words, *some, "--out", tmp_path / "b", "--json").json
    assert [name for name, _ in measured] == ["w8a8", "w4a4-block16"]
    assert "perplexity_ratio" not in found["best"]
    alone = ("--objectives", "speed,accuracy", "--out", tmp_path / "c")
    refused = run("explore", world.plain_file, *words, *alone).refusal
    assert "tokens/s alone is left; add an objective, such as --objectives speed,size" in refused


def test_a_search_that_was_stopped_goes_on(run, base, tmp_path, monkeypatch):
    words = ("explore", "demo", "--target", base, "--out", tmp_path / "front", *FAST)
    estimate, seen = standin.estimate, []

    def stopped(work, area):
        seen.append(1)
        if len(seen) == 18:
            raise KeyboardInterrupt
        return estimate(work, area)

    monkeypatch.setattr(explore, "estimate_pass", stopped)
    said = run(*words, "--threads", "1")
    study = tmp_path / "front" / "study.jsonl"
    assert said.status == 130
    assert said.err.endswith(f"stopped; the same command resumes from {study}\n")
    assert "40 configurations to estimate, about " in said.err
    kept = len(read_store(study))
    assert kept >= 8
    assert f"{40 - kept} configurations to estimate" in run(*words).err
    whole = run(*words[:4], *FAST, "--out", tmp_path / "whole")
    assert whole.status == 0
    same = ((tmp_path / name / "front.jsonl").read_text() for name in ("front", "whole"))
    assert len({*same}) == 1


def test_what_does_not_fit_is_left_out(run, base, tmp_path):
    base.write_text(to_toml(standin.target(lut=4100).to_dict()))
    words = ("--target", base, "--out", tmp_path / "front", *FAST)
    said = run("explore", "demo", *words, "--only", "lanes=1,2", "--only", "clock_mhz=80,100")
    assert said.status == 0
    assert "w4a8 is left out: even the smallest w4a8 machine" in said.err
    content = read_store(tmp_path / "front" / "front.jsonl")[0].values
    assert set(content["left_out"]) == {"w4a8"}
    assert {point["machine"]["lanes"] for point in content["points"]} <= {1, 2}
    assert {point["clock_mhz"] for point in content["points"]} <= {80, 100}


def test_another_checkpoint_is_measured_again(run, base, measured, tmp_path):
    """Weights that changed in the same folder are another model."""
    folder = tmp_path / "ck"
    words = ("explore", "demo", "--target", base, "--out", tmp_path / "a", "--checkpoint", folder,
             "--schemes", "w4a4,w8a8", "--accuracy-tokens", "300", *FEW, "--json")  # fmt: skip
    for seed in (1, 1, 2):
        write_state_spaces(folder, WORDED, tokenizer=True, seed=seed)
        run(*words)
    assert measured == [("w4a4", 300), ("w8a8", 300)] * 2
