"""``lightmamba quantize``."""

import pytest

from lightmamba.model.qmodel import load
from tests.support.layers import sizes_of

FEW = ("--sequences", "4", "--seqlen", "64")


def test_a_checkpoint_of_transformers_without_a_tokenizer(run, world, tmp_path):
    """Calibrated, for want of text, on sequences sampled from the model itself."""
    file = tmp_path / "m.safetensors"
    found = run("quantize", world.plain, "-o", file, *FEW, "--json").json
    assert {"output", "bytes", "seconds", "peak_rss_bytes", "recipe"} <= found.keys()
    assert found["output"] == str(file)
    assert found["bytes"] == file.stat().st_size
    assert found["recipe"] == "w4a4"
    assert found["seconds"] > 0
    assert found["peak_rss_bytes"] > 10 * 2**20
    model = load(file)
    assert (sizes_of(model.config).ngroups, model.config.d_model) == (2, 192)
    assert model.valid_vocab == 300
    assert (model.formats.weight_bits, model.formats.act_bits) == (4, 4)
    assert model.tokenizer is None
    assert model.origin["calibration"]["kind"] == "sampled from the model"
    assert "256 calibration tokens say nothing" in found["warnings"][0]


def test_options_reach_the_quantizer(run, world, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('name = "mine"\n[[pass]]\nkind = "quantize_weights"\nbits = 8\n')
    tokenizer = world.worded / "tokenizer.json"
    file = tmp_path / "m.safetensors"
    options = ("--recipe", recipe, "--seed", "5", "--tokenizer", tokenizer)
    found = run("quantize", world.plain, "-o", file, *FEW, *options,
                "--calibration", world.text, "--json").json  # fmt: skip
    assert found["recipe"] == "mine"
    model = load(file)
    assert model.tokenizer == tokenizer.read_bytes()
    assert model.valid_vocab == 261
    assert model.origin["seed"] == 5
    assert model.origin["calibration"] == {"kind": "text", "sequences": 4, "seqlen": 64}


def test_people_get_a_plan_a_table_and_the_path(run, world, tmp_path):
    file = tmp_path / "m.safetensors"
    said = run("quantize", world.worded, "-o", file, *FEW, "--recipe", "rtn-w8a8")
    assert (said.status, said.out) == (0, f"{file}\n")
    for word in (
        "plan: rtn-w8a8",
        "256 tokens (4 x 64)",
        "memory",
        "journal",
        "least exact tensor",
    ):
        assert word in said.err


def test_a_budget(run, world, tmp_path):
    """The recipe that is written makes the same file."""
    file, again = tmp_path / "m.safetensors", tmp_path / "again.safetensors"
    said = run("quantize", world.worded, "-o", file, *FEW, "--budget", "6", "--act-budget", "5")
    recipe = tmp_path / "m.recipe.toml"
    assert said.out.endswith(f"{file}\n{recipe}\n")
    assert "exceptions, those that cost most first" in said.out
    found = run("quantize", world.worded, "-o", again, *FEW, "--recipe", recipe, "--json").json
    assert found["recipe"] == "w4a4"
    assert again.read_bytes() == file.read_bytes()
    assert load(file).formats.exceptions
    assert {each.name for each in tmp_path.iterdir()} == {file.name, again.name, recipe.name}


def test_only_what_was_chosen_is_shown(run, world, tmp_path):
    """All activations have 8 bits already, which makes no exceptions."""
    words = ("quantize", world.worded, "-o", tmp_path / "m.safetensors", *FEW)
    said = run(*words, "--recipe", "w4a8", "--budget", "5")
    chosen = load(tmp_path / "m.safetensors").formats.exceptions
    assert 0 < len(chosen) < 4
    assert f"{len(chosen)} of 4 have exceptions" in said.err


def test_a_budget_as_json(run, world, tmp_path):
    file = tmp_path / "m.safetensors"
    found = run("quantize", world.worded, "-o", file, *FEW, "--budget", "8", "--json").json
    assert found["recipe_file"] == str(tmp_path / "m.recipe.toml")
    assert found["mean_bits"] == {"weights": 8, "activations": 4}
    assert found["cycles"] == 2
    rows = found["projections"]
    assert {row["weight_bits"] for row in rows} == {8}
    assert [row["kl_weights"] for row in rows] == sorted(r["kl_weights"] for r in rows)[::-1]
    taken = run("quantize", world.worded, "-o", tmp_path / "n.safetensors", *FEW,
                "--exceptions", table(tmp_path / "e.toml")).status  # fmt: skip
    assert taken == 0
    assert load(tmp_path / "n.safetensors").formats.of(1, "in_proj").bits == 8
    assert load(tmp_path / "n.safetensors").formats.of(0, "in_proj").bits == 4


def table(path):
    """A file of one exception."""
    path.write_text('[[exception]]\nlayers = [1]\nprojection = "in_proj"\nweight_bits = 8\n')
    return path


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("{root}", "is a folder; give"),
        ("{root}/none/m.safetensors", "there is no folder"),
        ("/proc/m.safetensors", "cannot write into /proc"),
        ("{worded_file}", "--force"),
    ],
)
def test_an_unwritable_output_is_refused_before_the_work(run, world, monkeypatch, output, sentence):
    monkeypatch.setattr("lightmamba.model.checkpoint.open_checkpoint", lambda *_, **__: 1 / 0)
    assert sentence in run("quantize", world.worded, "-o", output.format(**vars(world))).refusal
