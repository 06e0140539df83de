"""The package in five functions, on small models."""

import shutil
import subprocess
import sys

import pytest

import lightmamba
from lightmamba.cli import main
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import load, save
from lightmamba.study.explore.files import to_toml
from tests.sim.machines import CONFIG, TARGET
from tests.support.builders import random_model
from tests.sweep import conftest

world = conftest.world
PROMPT = "It is a truth universally acknowledged, that"


def test_text_of_the_bundled_model_is_that_of_the_command(capsys):
    model = lightmamba.load(threads=1)
    assert model.source == demo_file()
    text = lightmamba.generate(model, PROMPT, max_tokens=12)
    assert "".join(model.stream(PROMPT, max_tokens=12)) == text
    sampled = lightmamba.generate(model, PROMPT, max_tokens=12, seed=3, temperature=1.0)
    assert sampled != text
    assert lightmamba.generate(model, PROMPT, max_tokens=12, stop=(text.split()[1],)) != text
    for options, wanted in (((), text), (("--seed", "3", "--temperature", "1"), sampled)):
        words = ["generate", "bundled", "--prompt", PROMPT, "--max-tokens", "12", *options]
        assert main(words) == 0
        assert capsys.readouterr().out == f"{PROMPT}{wanted}\n"
    with pytest.raises(InputError, match="temperature"):
        lightmamba.generate(model, PROMPT, temperature=-1.0)


def test_names_and_ids_will_do(tmp_path):
    """The facade takes what `load` takes, and says in a sentence what it does not take."""
    model = lightmamba.load("bundled", threads=1)
    wanted = lightmamba.generate(model, PROMPT, max_tokens=4)
    assert lightmamba.generate("bundled", PROMPT, max_tokens=4) == wanted
    ids = model.tokenizer.encode(PROMPT).tolist()
    assert lightmamba.generate(model, ids, max_tokens=4) == wanted
    with pytest.raises(TypeError, match="there is no option max_token; sampling has temperature"):
        lightmamba.generate(model, PROMPT, max_token=3)
    with pytest.raises(InputError, match=r"quantize it: lightmamba.quantize\(\"some/one\""):
        lightmamba.load("some/one")
    with pytest.raises(InputError, match=r"there is no folder .*away for m.safetensors; make it"):
        lightmamba.quantize("bundled", tmp_path / "away" / "m.safetensors")
    (tmp_path / "m.safetensors").touch()
    with pytest.raises(InputError, match=r"exists; give another path, or force=True"):
        lightmamba.quantize("bundled", tmp_path / "m.safetensors")
    assert len(repr(model)) < 300
    assert {"generate", "load", "__version__"} <= set(dir(lightmamba))
    assert lightmamba.__version__.count(".") == 2


def test_in_memory_and_to_a_file_are_the_same(world, tmp_path):
    given = {"recipe": "w8a8", "sequences": 4, "seqlen": 64, "threads": 1}
    steps = []
    in_memory = lightmamba.quantize(
        world.root / "tiny", **given, progress=lambda *done: steps.append(done)
    )
    assert in_memory.source is None
    assert steps[-1][0] == steps[-1][1]
    path = tmp_path / "m.safetensors"
    written = lightmamba.quantize(world.root / "tiny", path, **given)
    assert written.source == path
    in_memory.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    words = ("--recipe", "w8a8", "--sequences", "4", "--seqlen", "64", "--threads", "1", "-q")
    command = tmp_path / "command.safetensors"
    assert main(["quantize", str(world.root / "tiny"), "-o", str(command), *words]) == 0
    assert command.read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        in_memory.save(path)


@pytest.mark.skipif(shutil.which("verilator") is None, reason="Verilator is missing")
def test_a_build_is_simulated(tmp_path):
    save(random_model(CONFIG), tmp_path / "m.safetensors")
    model = lightmamba.load(tmp_path / "m.safetensors")
    (tmp_path / "t.toml").write_text(to_toml(TARGET.to_dict()))
    path = tmp_path / "build"
    build = lightmamba.compile(model, str(tmp_path / "t.toml"), path, verilog=False)
    assert build.path == path
    assert Artifact.read(path).verilog is None
    for given in (build, path, str(path)):
        found = lightmamba.simulate(given, 2, prompt_ids=(3, 5))
        assert found.matches_engine
        assert found.tokens == 3
    with pytest.raises(InputError, match="exists"):
        lightmamba.compile(model, str(tmp_path / "t.toml"), path, verilog=False)


def test_a_name_loads_what_it_needs():
    code = "import lightmamba, sys; lightmamba.load; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert load(demo_file()).config == lightmamba.load().quantized.config
