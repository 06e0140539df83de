"""``lightmamba estimate``."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from lightmamba.arch.amount import Amount
from lightmamba.arch.target import Target
from lightmamba.cli.estimate import grouped
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.estimate import estimate
from lightmamba.hardware.estimate.resources import resources
from lightmamba.model.config import SHAPES
from lightmamba.model.qmodel import save
from lightmamba.numerics.model_formats import Formats
from lightmamba.study.explore.files import to_toml
from lightmamba.study.sweep.job import Job, Learning, Machine, Model
from lightmamba.study.sweep.verbs import run_estimate
from tests.support.builders import random_model, sizes


def test_a_shape(run):
    found = run("estimate", "demo", "--target", "tiny", "--json").json
    wanted = estimate(SHAPES["demo"], Formats(), Target.load("tiny"))
    assert found["cycles_per_token"] == wanted.cycles == sum(found["stalls"].values())
    assert found["tokens_per_second"] == pytest.approx(100e6 / wanted.cycles)
    assert found["bytes_per_token"] == sum(c["bytes"] for c in found["channels"].values())
    assert found["bound"] in {**found["channels"], **found["units"]}
    assert 0 < found["bandwidth_utilization"] < 1
    decode, prompt = found["cycles_per_token"], found["prompt_cycles_per_token"]
    assert found["pass_cycles"] == {"decode": decode, "prefill": prompt}
    assert found["prefill_tokens_per_second"] == pytest.approx(100e6 / prompt)
    assert found["batch_tokens_per_second"] == found["tokens_per_second"]
    assert not found["resources"]["from_one_token"]
    assert "tokens_per_joule" in found


def test_passes_of_several_tokens(run):
    found = run("estimate", "demo", "--target", "tiny", "--tokens", "2", "--json").json
    cycles = found["pass_cycles"]
    assert found["prefill_tokens_per_second"] == pytest.approx(2 * 100e6 / cycles["prefill"])
    assert found["batch_tokens_per_second"] == pytest.approx(2 * 100e6 / cycles["batch"])
    assert found["prompt_cycles_per_token"] == -(-cycles["prefill"] // 2)
    assert found["resources"]["from_one_token"]
    for mode, each in found["passes"].items():
        assert each["cycles"] == cycles[mode]
        assert each["bound"] in {**each["channels"], **each["units"]}
    said = run("estimate", "demo", "--target", "tiny", "--tokens", "2").out
    assert "prefill" in said
    assert "verify" in said


def test_channels_that_work_alike_have_one_row():
    cycles = {"hbm0": 5.0, "hbm1": 5.0, "hbm2": 4.0, "hbm3": 5.0, "ddr4": 5.0}
    assert grouped(cycles) == {"hbm0 to hbm3, each": 5.0, "hbm2": 4.0, "ddr4": 5.0}


def test_area_is_compared_with_the_device(run, tmp_path):
    said = run("estimate", "demo", "--target", "kv260").out
    assert re.search(r"area on the device of kv260: fits, with \d+% of its", said)
    assert "117,120" in said  # LUTs of the device
    small = Target.load("kv260").to_dict()
    small["resources"]["dsp"] = 10
    (tmp_path / "small.toml").write_text(to_toml(small))
    said = run("estimate", "demo", "--target", tmp_path / "small.toml").out
    assert re.search(r"does not fit: [\d,]+% of its DSP", said)
    assert "% of its" not in run("estimate", "demo", "--target", "tiny").out


def test_widths_that_were_not_synthesized(run, tmp_path):
    """Speed without an area, and why: by the verbs that estimate, and in a sweep."""
    model = random_model(sizes(), Formats(weight_bits=8, act_bits=4, head_weight_bits=8))
    save(model, tmp_path / "w8a4.safetensors")
    words = ("estimate", tmp_path / "w8a4.safetensors", "--target", "tiny")
    found, said = run(*words, "--json").json, run(*words)
    why = "area and energy are unknown: no accelerator with lanes of 8 x 4 bits was synthesized"
    assert found["tokens_per_second"] > 0
    assert (found["resources"], found["tokens_per_joule"]) == (None, None)
    assert why in found["area_unknown"]
    assert why in " ".join(said.err.split())
    assert "LUT" not in said.out
    page = tmp_path / "page.html"
    made = run("report", words[1], "--target", "tiny", "-o", page, "--json").json
    assert made["missing"][:1] == ["simulation"]
    assert {"resources", "energy"} <= set(made["missing"])
    assert why in page.read_text()
    recipe: Any = SimpleNamespace(formats=model.formats)
    cell = Model("m", None, model.config), recipe, Learning(1, 32)
    row = run_estimate(Job(*cell, Machine("tiny", Target.load("tiny"))))
    assert row["tokens_per_second"] == found["tokens_per_second"]
    assert row["tokens_per_joule"] is None


def test_cells_are_those_of_the_device(run):
    """LUTs of an ECP5 have four inputs, so there are more of them than the area model counts."""
    found = run("estimate", "demo", "--target", "ulx3s", "--json").json["resources"]
    arch = plan(SHAPES["demo"], Formats(), Target.load("ulx3s"))
    own = sum(resources(arch).values(), Amount())
    assert found["total"]["lut"] == pytest.approx(1.9 * own.lut)
    assert found["total"]["ff"] == pytest.approx(own.ff)
