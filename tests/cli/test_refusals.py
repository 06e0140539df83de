"""Refusals of the verbs: one sentence on stderr and status 2, before any work.

What is raised below a verb is tested where it is raised; here are the verbs' own checks, and those
of modules that only a verb calls.
"""

import shlex
import sys
from dataclasses import replace

import pytest

from lightmamba.model.qmodel import load, save
from tests.support.builders import write_tokenizer


@pytest.fixture(scope="module")
def places(world, tmp_path_factory):
    """Everything that a command may name: what is good, and a folder of what is wrong."""
    root = tmp_path_factory.mktemp("bad")
    (root / "llama.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(64))
    (root / "latin1.txt").write_bytes("déjà vu".encode("latin-1"))
    (root / "nothing.txt").write_text("\n")
    for name, ids in {
        "outside": "1 2 300 4", "negative": "1 -2 3", "superscript": "1 2² 3", "few": "7",
        "huge": "1 " + "9" * 5000,
    }.items():  # fmt: skip
        (root / f"{name}.txt").write_text(ids)
    table = '[[exception]]\nlayers = [{}]\nprojection = "out_proj"\nweight_bits = 8\n'
    (root / "two.toml").write_text(2 * table.format(1))
    (root / "far.toml").write_text(table.format(7))
    words = write_tokenizer(root / "large.json", 500).read_bytes()
    save(replace(load(world.worded_file), tokenizer=words), root / "stranger.st")
    (root / "plan.toml").write_text('models = ["demo"]\nrecipes = ["w4a4"]\ntargets = ["tiny"]\n')
    return {
        "bad": root, "ck": world.worded, "file": world.worded_file, "bare": world.plain,
        "bare_file": world.plain_file, "ids": world.ids, "text": world.text, "build": world.build,
        "out": root / "made",
    }  # fmt: skip


CASES = [
    # verbs, flags and values that there are none of
    ("frobnicate", "there is no verb frobnicate; verbs are demo, quantize, "),
    ("generat bundled", "there is no verb generat; did you mean generate?"),
    ("evaluate {file} --frobnicate", "argument --frobnicate; see lightmamba evaluate --help"),
    ("evaluate {file} --wind 3", "--wind; did you mean --window? see lightmamba evaluate --help"),
    ("quantize {ck}", "see lightmamba quantize --help"),
    ("generate bundled --prompt x --max-tokens abc", "--max-tokens must be a whole number, not"),
    ("generate bundled --prompt x --top-p abc", "--top-p must be a number, not 'abc'"),
    ("evaluate {file} --ids {ids} --threads 0", "--threads must be at least 1"),
    # models, shapes and builds
    ("evaluate {bad}/none --ids {ids}", "no file or folder"),
    ("generate {bad}/llama.gguf --prompt x", "llama.gguf is a GGUF file (llama.cpp)"),
    ("compile none.st --target tiny -o {out}", "there is no file none.st; give a quantized file, "),
    ("compile {ck} --target tiny -o {out}", "is a folder, not a quantized file; make one with: "),
    ("compile {file} --target tiny -o {out} --seed 1", "--format and --seed are for shapes"),
    ("compile demo --target tiny -o {out} --format w2", "one of w4a4, w4a8, w8a8, not w2"),
    ("compile demo --target tiny -o {out} --seed -1", "--seed must be from 0 to 2**63 - 1, not -1"),
    ("estimate {file} --target tiny --format w8a8", "--format is for shapes"),
    ("estimate {build} --target tiny", "is a build, not a quantized file; the one that it runs is"),
    ("estimate demo --target tiny --tokens 3", "--tokens 3 on target tiny: tokens must be one of"),
    ("estimate demo --target u280-t4 --tokens 1", "; try --target u280\n"),
    ("compile {file} --target tiny -o {out} --kinds mamba2,mlpp", "no layers of kind 'mlpp'; "),
    ("compile {file} --target tiny -o {out} --kinds mlp", "units for mlp only; try --kinds mamba2"),
    ("compile {file} --target tiny -o {out} --context 4096", "keeps anything of every token, so"),
    ("compile {file} --target tiny -o {out} --sequences 4", "no layer of this hardware keeps keys"),
    ("package {build} --board zcu102 -o {out}", "must be one of kv260, u280, u55c, ulx3s, vck190,"),
    # texts, ids and tokenizers
    ("generate {file} --prompt-file {bad}/no.txt", "no.txt"),
    ("evaluate {ck} --text {bad}/none.txt", "cannot read"),
    ("evaluate {ck} --text {bad}/latin1.txt", "is not UTF-8 text"),
    ("evaluate {bare_file} --ids {bad}/outside.txt", "from 0 to 299"),
    ("evaluate {bare} --ids {bad}/negative.txt", "word 2 is '-2'"),
    ("evaluate {bare} --ids {bad}/superscript.txt", "word 2 is '2²'"),
    ("evaluate {bare} --ids {bad}/huge.txt", "word 2 is '9999"),
    ("evaluate {bare} --ids {bad}/nothing.txt", "holds no token ids"),
    ("evaluate {file} --ids {bad}/few.txt --against {bare}", "the checkpoint that it was made"),
    ("evaluate {bare} --text {text}", "--tokenizer FILE"),
    ("evaluate {bare_file} --text {text}", "has no tokenizer"),
    ("generate {bad}/stranger.st --prompt x", "do not belong together"),
    ("evaluate {file} --text {text} --tokenizer {text}", "carries its own; quantize again with"),
    ("quantize {bare} -o {out} --calibration {text}", "no tokenizer"),
    ("quantize {bare} -o {out} --tokenizer {bad}/large.json", "another model"),
    ("quantize {ck} -o {out} --calibration {bad}/few.txt", "at least 1024"),
    ("quantize {ck} -o {out} --calibration {text} --calibration-ids {ids}", "both"),
    ("quantize {ck} -o {out} --sequences 0", "at least 1 sequence"),
    ("quantize {ck} -o {out} --exceptions {bad}/none.toml", "as exceptions: "),
    ("quantize {ck} -o {out} --exceptions {bad}/plan.toml", "own, layers = [1, 3], projection"),
    ("quantize {ck} -o {out} --exceptions {bad}/two.toml", "of layer 1 has two exceptions"),
    ("quantize {ck} -o {out} --exceptions {bad}/far.toml", "the model's layers are 0 to 1"),
    ("quantize {ck} -o {out} --budget 3", "--budget must be from 4 to 8"),
    ("quantize {ck} -o {out} --budget x", "--budget must be a number, not 'x'"),
    # flags that do not go together, or are out of range
    ("quantize {ck} -o {out} --seed -1", "--seed"),
    ("quantize {ck} -o {out} --torch-device cuda", "torch finds no cuda device"),
    ("quantize {ck} -o {out} --torch-device tpu", "no device 'tpu'; give auto, cpu, cuda or"),
    ("evaluate {file}", "nothing to evaluate"),
    ("evaluate {file} --text {text} --ids {ids}", "not both"),
    ("evaluate {file} --task t.jsonl --against {ck}", "--against"),
    ("evaluate {file} --text {text} --results {out}", "--results keeps a comparison"),
    ("evaluate {file} --text {text} --window 1", "--window must be at least 2"),
    ("generate {file} --prompt x --chat", "has no chat template, so it is not a chat model; try: "),
    ("generate {file} --prompt x --system x", "--system is a message of a chat; give --chat too"),
    ("inspect {file} --plot {out}.png", "--plot needs the float checkpoint"),
    ("inspect {build} --plot {out}.png", "is a build; --plot needs the float checkpoint"),
    ("inspect {ck} --plot {out}.png --layer 2", "--layer must be 0 to 1"),
    ("inspect {ck} --layer 1", "--plot"),
    ("inspect {ck} --plot {out}.nothing", "try ranges.png"),
    ("inspect {ck} --save-tokenizer {out}", "is for a quantized file or a build; transformers"),
    ("inspect {file} --save-tokenizer {bad}/few.txt", "is a file; give the name of a folder"),
    ("inspect {file} --save-tokenizer {bad}/no/t", "there is no folder"),
    ("inspect {bare_file} --save-tokenizer {out}", "has no tokenizer"),
    ("explore demo --target kv260 --out {out} --schemes w4a4-block16", "add one that it has, for"),
    ("explore demo --target kv260 --out {out} --only lanes", "a choice and numbers, such as lanes"),
    ("report demo -o {out}", "demo is not a build, so a target is needed: --target u280"),
    ("report {build} --target tiny -o {out}", "is a build, which has its own; leave --target out"),
    ("synth {bad} --flow vivado", "--flow must be one of xcup, ecp5, not vivado"),
    ("synth {bad} --seed 2", "--goal and --seed are for --flow ecp5;"),
    ("synth {bad} --flow ecp5 --flat", "--flat and --cache are for --flow xcup"),
    ("synth {bad} --flow ecp5 --goal 0", "--goal must be above 0"),
    ("synth {build}", "compile it again without --no-verilog"),
    ("bench bundled --repeats 0", "--repeats must be at least 1, not 0"),
    ("simulate {build} --max-tokens 0", "--max-tokens must be at least 1, not 0"),
    ("report demo --target tiny -o {out} --simulate 0", "must be at least 1, not 0; try 4"),
    ("explore demo --target kv260 --out {out} --accuracy-tokens 9", "must be at least 256"),
    ("sweep {bad}/plan.toml -o {out} --workers -1", "--workers must be at least 0"),
    ("sweep {bad}/plan.toml -o {out} --workers 0 --address a:1", "--address needs workers"),
    ("compile demo --target tiny --no-verilog -o {build}", "build exists; give another name, or"),
    ("report demo --target tiny -o {text}", "text.txt exists; give another name, or --force"),
    ("simulate {build} --waves {text}", "text.txt exists; give another name, or --force to"),
    ("simulate {build} --waves {bad}/no/x.fst", "there is no folder"),
    ("simulate {build} --results {bad}/no/x.jsonl", "; give --results a file in"),
    ("sweep", "give a plan, such as plan.toml, or flags"),
    ("sweep {bad}/plan.toml", "give a folder for the results, such as -o sweep"),
    ("sweep {bad}/plan.toml --model demo -o {out}", "not both; write it into the plan"),
    ("sweep {bad} -o {out}", "is a folder of results, not a plan"),
    ("sweep {bad}/plan.toml --compare {bad}", "two folders of results"),
    ("sweep {bad} --compare {bad} -o {out}", "--compare runs nothing"),
    # devices
    ("generate someone/a --prompt x --device sim", "is not a build, and a device runs builds"),
    ("generate {build} --prompt x --device moon", "--device must be one of engine, sim, uio, "),
    ("selftest {build} --device engine", "--device must be one of sim, uio, "),
    ("generate {build} --prompt x --device xrt", "device xrt needs the option xclbin; give it as "),
    ("generate {build} --prompt x --device uio --device-option a=1", "device uio has no option a;"),
    ("generate {build} --prompt x --device sim --device-option a", "a device option is key=value,"),
    ("generate {build} --prompt x --device sim --device-option stalls=fast", "of the wrong kind: "),
]


@pytest.mark.parametrize(("command", "sentence"), CASES, ids=[command for command, _ in CASES])
def test_one_sentence(run, places, command, sentence):
    said = run(*shlex.split(command.format(**places)))
    assert sentence in said.refusal
    assert not list(places["bad"].glob("made*"))
    assert said.err.startswith(f"lightmamba {command.split()[0]}: ") or "verb" in said.err


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("demo --max-tokens 0", "--max-tokens must be at least 1, not 0"),
        ("generate bundled --prompt x --record r", "--record is for a device"),
        ("chat bundled --force", "--force replaces a recording"),
        ("serve bundled --name ''", "--name must not be empty"),
        ("generate '' --prompt x", "the name of the model is empty"),
    ],
)
def test_flags_are_checked_first(run, monkeypatch, command, sentence):
    monkeypatch.setattr("lightmamba.text.model.load", None)
    assert sentence in run(*shlex.split(command)).refusal


def test_a_missing_package_is_named(run, monkeypatch):
    """One that a plain installation has, and an installation with --no-deps has not."""
    for name in ("cli.estimate", "cli.completion", "hardware.estimate"):
        monkeypatch.delitem(sys.modules, f"lightmamba.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "lightmamba.hardware.estimate", None)
    assert "an error of the program itself" in run("estimate", "demo", "--target", "tiny").err
    monkeypatch.setitem(sys.modules, "shtab", None)
    said = run("completion", "bash")
    assert said.refusal == "lightmamba completion: shtab is not installed; try: pip install shtab\n"


@pytest.mark.parametrize("verb", ["generate", "chat", "serve"])
def test_a_missing_file_is_said_without_torch(run, monkeypatch, verb):
    for module in [name for name in sys.modules if name.startswith("lightmamba.model.checkpoint")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    prompt = ["--prompt", "x"] if verb == "generate" else []
    assert "nofile.safetensors does not exist" in run(verb, "nofile.safetensors", *prompt).refusal


@pytest.mark.parametrize(("name", "extra"), [("torch", "torch"), ("matplotlib", "plot")])
def test_a_missing_extra_is_named(run, places, monkeypatch, name, extra):
    for module in ("plots.style", "plots.ranges", "checkpoint", "quantize", "reference"):
        monkeypatch.delitem(sys.modules, f"lightmamba.{module}", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    said = run("inspect", places["ck"], "--plot", places["bad"] / "x.png")
    assert said.refusal.endswith(
        f"{name} is not installed; try: pip install '.[{extra}]' (in a clone of LightMamba)\n"
    )
