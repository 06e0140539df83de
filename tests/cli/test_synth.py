"""``lightmamba synth``."""

import importlib.util

import pytest

import lightmamba.synth
from lightmamba.arch.amount import Amount
from lightmamba.arch.target import Target
from lightmamba.compiler import build
from lightmamba.config import mamba2_config
from lightmamba.synth import LongestPath, Placed
from tests.support.builders import random_model
from tests.synth.machines import Machine, needs_yosys, text


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


def test_a_build_without_verilog(run, world, tmp_path):
    build_path = tmp_path / "build"
    run("compile", world.worded_file, "--target", "tiny", "--no-verilog", "-o", build_path)
    assert "compile it again without --no-verilog" in run("synth", build_path).refusal


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--flow", "vivado"], "--flow must be one of xcup, ecp5, gowin, not vivado"),
        (["--seed", "2"], "--goal and --seed are for --flow ecp5 and gowin"),
        (["--flow", "ecp5", "--flat"], "--flat and --cache are for --flow xcup"),
        (["--flow", "gowin", "--flat"], "--flat and --cache are for --flow xcup; gowin is flat"),
        (["--flow", "gowin", "--goal", "-1"], "--goal must be above 0"),
        (["--flow", "ecp5", "--goal", "0"], "--goal must be above 0"),
    ],
)
def test_options_that_do_not_fit(run, tmp_path, options, said):
    assert said in run("synth", tmp_path, *options).refusal


UNTIMED = {
    "about": "nextpnr has no delays of multipliers",
    "multipliers": 3,
    "operand_bits": 40, "operand_bits_behind_logic": 1,
    "product_bits": 50, "product_bits_into_logic": 2,
}  # fmt: skip


def test_gowin_says_what_is_not_timed(run, built, monkeypatch):
    given: dict[str, object] = {}

    def place(verilog, top, **options):
        given.update(options, top=top)
        return Placed(
            tools="nextpnr 9", amount=Amount(lut=1382, ff=10, dsp=3), frame=Amount(ff=4),
            available=Amount(lut=138_240, ff=138_240, dsp=298, bram18=340), fmax_mhz=80.0,
            path=LongestPath(12.5, ("clk-to-q 0.23 ns a.Q", "logic 0.37 ns b.F")),
            through=7, untimed=UNTIMED,
        )  # fmt: skip

    monkeypatch.setattr(lightmamba.synth, "place_gowin", place)
    found = run("synth", built, "--flow", "gowin", "--seed", "3", "--json").json
    assert given == {"goal_mhz": 125.0, "seed": 3, "top": "lightmamba"}
    assert (found["flow"], found["fmax_mhz"], found["lut_through"]) == ("gowin", 80.0, 7)
    assert found["untimed"] == UNTIMED
    said = run("synth", built, "--flow", "gowin")
    assert "not timed: nextpnr has no delays of multipliers. There are 3" in said.out
    assert "2 of 50 product bits go into logic" in said.out


def test_missing_tools_of_gowin(run, built, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    assert (
        "install it with: pip install 'lightmamba[synth]'"
        in run("synth", built, "--flow", "gowin").refusal
    )
