"""The commands of README and docs run, in order, page by page, on small things."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lightmamba
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import save_checkpoint
from lightmamba.model.config import HYBRIDS, ModelConfig
from lightmamba.model.data import austen
from lightmamba.model.train import initialize
from tests.docs.pages import PAGES, ROOT, blocks, commands, not_run

DATA = ROOT / "src/lightmamba/model/data"
SMALL: dict[str, dict[str, Any]] = {  # sizes of a hybrid that takes no time
    "mamba2": {"nheads": 4, "headdim": 32, "d_state": 32},
    "attention": {"n_heads": 2, "n_kv_heads": 1, "head_dim": 32},
    "mlp": {"d_hidden": 96},
}
FAST = """\
name = "fast"

[[pass]]
kind = "quantize_weights"
rounding = "rtn"
correct = false

[[pass]]
kind = "fuse_norms"

[[pass]]
kind = "rotate"

[[pass]]
kind = "online_hadamard"
gate_weight = "keep"
"""
PLAN = """\
models = ["demo"]
recipes = ["float", { place = "fast.toml", name = "fast" }]
texts = [{ place = "book.txt", name = "book" }]
tokens = 256
targets = ["u280"]

[calibration]
sequences = 2
"""
# What a reader would replace, and what takes long: (pattern, stand-in), applied in order.
STAND_INS = [
    (r"\[:40000\]", "[:2000]"),
    (r"src/lightmamba/model/data/", f"{DATA}/"),
    (r"state-spaces/mamba2-130m", f"{DATA}/demo"),
    (r"ibm-granite/granite-4.0-h-350m", "hybrid"),
    (r"^(lightmamba quantize (?!.*--recipe).*)$", r"\1 --recipe fast.toml"),
    (r"^(lightmamba quantize .*)$", r"\1 --sequences 4"),
    (r"^(lightmamba explore) \S+ (.*)$",
     r"\1 demo \2 --trials 6 --objectives speed,size --schemes w4a4"),
    (r"^lightmamba compile \S+ (.*)--target u280", r"lightmamba compile demo \1--target tiny"),
    (r"^(lightmamba compile) \S+ (.*)--target front/targets/p01.toml",
     r"\1 demo \2--target front/targets/p1.toml --no-verilog"),
    (r"--recipe w4a4 --text shipped", "--recipe fast.toml --text book.txt --tokens 256"),
    (r"^lightmamba sweep before --compare after", "lightmamba sweep sweep --compare sweep"),
    (r"^(lightmamba sweep .*-o sweep)$", r"\1 --workers 0 --threads 1"),
]  # fmt: skip
BOARD = {"tutorial/1-first-tokens.md"}  # CI runs it


def _runs(command: str) -> bool:
    return not any(command.startswith(start) for start in not_run())


def _cases():
    for page in PAGES:
        if any(map(_runs, commands(page))):
            name = str(page.relative_to(ROOT)).removeprefix("docs/")
            marks = [pytest.mark.slow, *[pytest.mark.board] * (name in BOARD)]
            yield pytest.param(page, id=name, marks=marks)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with what the pages take for granted, and the program on the path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, words in (("lightmamba", "-m lightmamba"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    work = tmp_path / "work"
    (work / "results").mkdir(parents=True)
    (work / "fast.toml").write_text(FAST)
    (work / "plan.toml").write_text(PLAN)
    (work / "book.txt").write_text(austen()[2][:4000], encoding="utf-8")
    shutil.copy(DATA / "demo/tokenizer.json", work)
    shutil.copy(DATA / "demo-w4a4.safetensors", work)
    shutil.copy(DATA / "demo-w4a4.safetensors", work / "m.safetensors")
    shutil.copy(ROOT / "src/lightmamba/arch/targets/tiny.toml", work / "my.toml")
    mine = next(b.text for b in blocks(ROOT / "docs/tutorial/2-your-own-recipe.md") if b.kind)
    mine = mine.replace('rounding = "gptq" ', 'rounding = "rtn" ').replace("correct = true", "")
    (work / "mine.toml").write_text(mine, encoding="utf-8")
    return work


def _random_hybrid(path: Path) -> None:
    """A checkpoint in Granite's layout, with the bundled model's tokenizer."""
    kinds: Any = HYBRIDS["granite-4.0-h-350m"].layers[18:22]
    layers = tuple(replace(layer, **SMALL[layer.kind]) for layer in kinds)
    model = CausalLM(ModelConfig(64, 2048, layers))
    initialize(model, 0)
    save_checkpoint(model, path, tokenizer=DATA / "demo/tokenizer.json")


def _shell(command: str, folder: Path) -> str:
    for pattern, stand_in in STAND_INS:
        command = re.sub(pattern, stand_in, command)
    if command.startswith(("lightmamba quantize", "lightmamba compile")):
        command += " --force"  # over the fixture's file, or a build of an earlier example
    done = subprocess.run(
        ["bash", "-euc", command], cwd=folder, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", list(_cases()))
def test_commands_run(page, folder):
    if "granite" in page.read_text(encoding="utf-8"):
        _random_hybrid(folder / "hybrid")
    for command in filter(_runs, commands(page)):
        _shell(command, folder)


def test_the_readme_shows_what_is_printed(folder):
    """The text block behind the first ``lightmamba generate``."""
    shown = blocks(ROOT / "README.md")
    place = next(i for i, b in enumerate(shown) if b.text.startswith("lightmamba generate"))
    command = shown[place].text.replace("\\\n", " ")
    assert _shell(command, folder).strip() == shown[place + 1].text.strip()


def test_the_readme_shows_what_its_program_prints(tmp_path, monkeypatch, capsys):
    """But for the quantization, which takes a minute and prints nothing."""
    shown = blocks(ROOT / "README.md")
    place = next(i for i, b in enumerate(shown) if b.text.startswith("import lightmamba"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lightmamba, "quantize", lambda *_, **__: None)
    exec(shown[place].text, {})
    assert capsys.readouterr().out.strip() == shown[place + 1].text.strip()


def test_what_is_not_run_has_a_reason():
    """Every row is of a command that stands on a page, and its reason is a sentence."""
    everything = [command for page in PAGES for command in commands(page)]
    for start, reason in not_run().items():
        assert any(command.startswith(start) for command in everything), start
        assert len(reason.split()) > 3
