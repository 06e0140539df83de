"""Bad input gets one sentence on stderr and status 2: what is wrong, where, what would be right."""

import shlex
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightmamba.model.qmodel import load, save
from tests.cli.conftest import WORDED
from tests.support.builders import write_tokenizer
from tests.support.checkpoints import write_state_spaces


def cut(data):
    """The first half of a file."""
    return data[: len(data) // 2]


@pytest.fixture(scope="module")
def places(world, tmp_path_factory):
    """Everything that is wrong, by name."""
    root = tmp_path_factory.mktemp("bad")
    write_state_spaces(root / "nan", WORDED, pickled=False, tokenizer=True)
    weights = load_file(root / "nan" / "model.safetensors")
    weights["backbone.layers.1.mixer.in_proj.weight"][3, 5] = float("nan")
    save_file(weights, root / "nan" / "model.safetensors")
    (root / "llama").mkdir()
    (root / "llama/config.json").write_text('{"model_type": "llama", "hidden_size": 64}')
    save_file({"x": torch.zeros(1)}, root / "llama/model.safetensors")
    write_state_spaces(root / "bitten", WORDED, pickled=False)
    weights = root / "bitten" / "model.safetensors"
    weights.write_bytes(cut(weights.read_bytes()))
    (root / "cut.safetensors").write_bytes(cut(world.worded_file.read_bytes()))
    (root / "llama.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(64))
    write_tokenizer(root / "large.json", 500)
    stranger = replace(load(world.worded_file), tokenizer=(root / "large.json").read_bytes())
    save(stranger, root / "stranger.safetensors")

    (root / "latin1.txt").write_bytes("déjà vu".encode("latin-1"))
    (root / "nothing.txt").write_text("\n")
    for name, ids in {
        "outside": "1 2 300 4", "negative": "1 -2 3", "superscript": "1 2² 3", "few": "7",
        "huge": "1 " + "9" * 5000,
    }.items():  # fmt: skip
        (root / f"{name}.txt").write_text(ids)
    (root / "task.jsonl").write_text('{"text": "The cat sat."}\n')
    return {
        "bad": root, "ck": world.worded, "file": world.worded_file, "bare": world.plain,
        "bare_file": world.plain_file, "ids": world.ids, "text": world.text,
    }  # fmt: skip


CASES = [
    # files and folders, in each place where a verb takes one; what can be wrong inside of them is
    # tested in tests/qmodel, tests/checkpoint and tests/quantization
    ("evaluate {bad}/none.safetensors --ids {ids}", "none.safetensors does not exist"),
    ("evaluate {bad}/none --ids {ids}", "no file or folder"),
    ("inspect {bad}/cut.safetensors", "cut.safetensors is not a quantized model, or is damaged"),
    ("inspect {bad}/bitten", "truncated or damaged"),
    ("inspect {bad}/llama", "llama"),
    ("generate {bad}/llama.gguf --prompt x", "llama.gguf is a GGUF file (llama.cpp)"),
    ("quantize {bad}/llama.gguf -o {bad}/x.st", "llama.gguf is a GGUF file (llama.cpp)"),
    ("generate {ck} --prompt x", "is a folder, not a quantized file"),
    ("quantize {file} -o {bad}/m.safetensors", "is a file"),
    ("quantize {ck} -o {bad}/m.safetensors --recipe w3a3", "shipped recipes: "),
    ("quantize {ck} -o {bad}/m.safetensors --recipe {bad}", "recipe"),
    ("quantize {ck} -o {bad}/m.safetensors --tokenizer {bad}", "cannot read"),
    ("evaluate {bare} --ids {ids} --revision main", "has no revision"),
    ("evaluate {file} --task {bad}/none.jsonl", "none.jsonl cannot be read"),
    ("generate {file} --prompt-file {bad}/no.txt", "no.txt"),
    # texts and ids
    ("evaluate {ck} --text {bad}/none.txt", "cannot read"),
    ("evaluate {ck} --text {bad}", "Is a directory"),
    ("evaluate {ck} --text {bad}/latin1.txt", "is not UTF-8 text"),
    ("evaluate {bare_file} --ids {bad}/outside.txt", "from 0 to 299"),
    ("evaluate {bare} --ids {bad}/negative.txt", "word 2 is '-2'"),
    ("evaluate {bare} --ids {bad}/superscript.txt", "word 2 is '2²'"),
    ("evaluate {bare} --ids {bad}/huge.txt", "word 2 is '9999"),
    ("evaluate {bare} --ids {bad}/nothing.txt", "holds no token ids"),
    ("evaluate {bare} --ids {bad}/few.txt", "at least 2 are needed"),
    ("evaluate {file} --ids {bad}/few.txt --against {bare}", "the checkpoint that it was made"),
    # no tokenizer, or that of another model
    ("evaluate {bare_file} --text {text}", "has no tokenizer"),
    ("evaluate {bare} --text {text}", "--tokenizer FILE"),
    ("quantize {bare} -o {bad}/m.safetensors --calibration {text}", "no tokenizer"),
    ("quantize {bare} -o {bad}/m.safetensors --tokenizer {bad}/large.json", "another model"),
    ("generate {bad}/stranger.safetensors --prompt x", "do not belong together"),
    # calibration
    ("quantize {ck} -o {bad}/m.safetensors --calibration {bad}/few.txt", "at least 1024"),
    ("quantize {ck} -o {bad}/m.safetensors --calibration-ids {bad}/outside.txt", "word 3"),
    ("quantize {ck} -o {bad}/m.safetensors --calibration {text} --calibration-ids {ids}", "both"),
    ("quantize {ck} -o {bad}/m.safetensors --sequences 0", "at least 1 sequence"),
    # output
    ("quantize {ck} -o {file}", "--force"),
    ("quantize {ck} -o {bad}", "is a folder"),
    ("quantize {ck} -o {bad}/no/m.safetensors", "there is no folder"),
    ("quantize {ck} -o /proc/m.safetensors", "cannot write into /proc"),
    ("inspect {ck} --plot {bad}/x.nothing", "try ranges.png"),
    # what does not go together, or is out of range
    ("quantize {ck} -o {bad}/m.safetensors --seed -1", "--seed"),
    ("evaluate {file}", "nothing to evaluate"),
    ("evaluate {file} --text {text} --ids {ids}", "not both"),
    ("evaluate {file} --task {bad}/task.jsonl --against {ck}", "--against"),
    ("evaluate {file} --text {text} --window 1", "--window must be at least 2"),
    ("evaluate {file} --text {text} --batch 0", "--batch must be at least 1"),
    ("evaluate {file} --task {bad}/task.jsonl --limit 0", "--limit must be at least 1"),
    ("generate {file} --prompt ''", "the prompt has no tokens"),
    ("generate {file} --prompt x --max-tokens 0", "max_tokens"),
    ("generate {file} --prompt x --temperature nan", "temperature"),
    ("generate {file} --prompt x --stop ''", "stop string is empty"),
    ("generate {file} --prompt x --prompt-file y", "not allowed with argument --prompt"),
    ("inspect {file} --plot {bad}/x.png", "--plot needs the float checkpoint"),
    ("inspect {ck} --plot {bad}/x.png --layer 2", "--layer must be 0 to 1"),
    ("inspect {ck} --layer 1", "--plot"),
    # words that there are none of
    ("frobnicate", "see lightmamba --help"),
    ("evaluate {file} --frobnicate", "argument --frobnicate; see lightmamba evaluate --help"),
    ("evaluate {file} --wind 3", "--wind; did you mean --window? see lightmamba evaluate --help"),
    ("quantize {ck}", "see lightmamba quantize --help"),
    ("evaluate {file} --ids {ids} --threads 0", "--threads must be at least 1"),
]


@pytest.mark.parametrize(("command", "sentence"), CASES, ids=[command for command, _ in CASES])
def test_one_sentence(run, places, command, sentence):
    said = run(*shlex.split(command.format(**places)))
    assert sentence in said.refusal
    assert not (places["bad"] / "m.safetensors").exists()
    if not command or command.startswith("frob"):
        return
    assert said.err.startswith(f"lightmamba {command.split()[0]}: ") or "--help" in said.err


def test_weights_that_are_no_numbers_end_a_run_in_the_middle(run, places):
    """They are read layer by layer, so the plan has been told before they are met."""
    bad = places["bad"]
    said = run("quantize", str(bad / "nan"), "-o", str(bad / "m.safetensors"))
    assert (said.status, said.out) == (2, "")
    last = said.err.splitlines()[-1]
    assert last.startswith("lightmamba quantize: ")
    assert "layers.1.mixer.in_proj.weight holds NaN or infinity" in last
    assert not (bad / "m.safetensors").exists()


def test_a_missing_package_is_named(run, monkeypatch):
    """One that a plain installation has, and an installation with --no-deps has not."""
    for name in ("cli.estimate", "cli.completion", "hardware.estimate"):
        monkeypatch.delitem(sys.modules, f"lightmamba.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "lightmamba.hardware.estimate", None)
    assert "an error of the program itself" in run("estimate", "demo", "--target", "tiny").err
    monkeypatch.setitem(sys.modules, "shtab", None)
    said = run("completion", "bash")
    assert (said.status, said.err) == (
        2, "lightmamba completion: shtab is not installed; try: pip install shtab\n"
    )  # fmt: skip


@pytest.mark.parametrize("verb", ["generate", "chat", "serve"])
def test_a_missing_file_is_said_without_torch(run, monkeypatch, verb):
    for module in [name for name in sys.modules if name.startswith("lightmamba.model.checkpoint")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    prompt = ["--prompt", "x"] if verb == "generate" else []
    said = run(verb, "nofile.safetensors", *prompt)
    assert said.status == 2
    assert "nofile.safetensors does not exist" in said.err


@pytest.mark.parametrize("name", ["torch", "matplotlib"])
def test_a_missing_extra_is_named(run, places, monkeypatch, name):
    for module in ("plots.style", "plots.ranges", "checkpoint", "quantize", "reference"):
        monkeypatch.delitem(sys.modules, f"lightmamba.{module}", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    said = run("inspect", places["ck"], "--plot", places["bad"] / "x.png")
    extra = {"torch": "torch", "matplotlib": "plot"}[name]
    assert said.refusal.endswith(
        f"{name} is not installed; try: pip install '.[{extra}]' (in a clone of LightMamba)\n"
    )
