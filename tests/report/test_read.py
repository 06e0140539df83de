"""Stored results come back, and what is not one is refused in one sentence."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from lightmamba.errors import InputError
from lightmamba.estimate import Amount
from lightmamba.report.read import (
    read_accuracy,
    read_front,
    read_results,
    read_simulation,
    read_synthesis,
)
from tests.report.cases import simulation, subject

BENCH = Path(__file__).parents[2] / "bench/results"
FRONT = {
    "model": "mamba2-130m",
    "base_target": "u280",
    "objectives": [{"name": "tokens_per_second"}, {"name": "device_share"}],
    "points": [
        {"name": "p1", "scheme": "w4a4", "clock_mhz": 300.0, "tokens_per_second": 99.5,
         "device_share": 0.25, "machine": {"lanes": 8, "port_bits": 256}},
    ],
    "best": {"tokens_per_second": "p1"},
    "tried": [{"scheme": "w4a4", "tokens_per_second": 50, "device_share": 0.5}],
}  # fmt: skip
SYNTHESIS = {
    "flow": "xcup", "tool": "Yosys 0.52", "target": "u280",
    "lut": 11, "ff": 22, "dsp": 3, "bram": 4, "uram": 5, "path_ns": 2.5,
    "fmax_mhz": None, "blocks": {
        "lane": {"count": 32, "lut": 7, "ff": 8, "dsp": 1, "bram": 2, "uram": 0},
        "ssm": {"lut": 9, "ff": 8, "dsp": 1, "bram": 2, "uram": 0},
    },
}  # fmt: skip
EVALUATED = {
    "model": "folder/m.safetensors", "perplexity": 27.5, "ratio": 1.01, "tokens": 4096,
    "ratio_standard_error": 0.002, "kl": 0.05, "top1_agreement": 0.84,
    "reference_perplexity": 27.2,
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def written(name, values):
        path = tmp_path / name
        path.write_text(values if isinstance(values, str) else json.dumps(values))
        return path

    return written


def test_a_simulation(write):
    of = subject()
    found = simulation(of)
    assert read_simulation(write("s.json", found.to_dict()), of) == found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target": "tiny"}, "is of another target than mamba2-2.7b on u280; its target is tiny"),
        ({"clock_mhz": 200.0}, "its clock_mhz is 200.0, not 300.0"),
        ({"config": {}}, "is of another config than"),
        ({"arch": None}, "is of another arch than"),
    ],
)
def test_a_simulation_of_something_else(write, change, sentence):
    of = subject()
    found = simulation(of)
    other = replace(found, machine={**found.machine, **change})
    with pytest.raises(InputError, match=sentence):
        read_simulation(write("s.json", other.to_dict()), of)


def test_a_simulation_with_stalls_is_no_speed_of_the_machine(write):
    of = subject()
    stalled = replace(simulation(of), memory_stalls=0.3)
    with pytest.raises(InputError, match=r"stalled at random \(--stalls 0.3\)"):
        read_simulation(write("s.json", stalled.to_dict()), of)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda v: v.pop("cycles"), "key 'cycles' is missing"),
        (lambda v: v["stalls_per_token"].pop("idle"), "key 'idle' is missing"),
        (lambda v: v.update(tokens="many"), "invalid literal"),
        (lambda v: v["activity"]["token"].update(bin_cycles=0), "bin_cycles must be at least 1"),
        (lambda v: v["bytes_per_token"].pop("ddr4-0"), "lacks channels of u280"),
    ],
)
def test_a_damaged_simulation(write, spoil, sentence):
    of = subject()
    values = json.loads(json.dumps(simulation(of).to_dict()))
    spoil(values)
    with pytest.raises(InputError, match=sentence) as refused:
        read_simulation(write("s.json", values), of)
    assert "lightmamba simulate BUILD --timeline FILE" in str(refused.value)


def test_what_the_benchmark_measured():
    bundled, outliers, hybrid = read_accuracy(BENCH / "accuracy.json")
    assert bundled.model == "The bundled model"
    first = bundled.scores[0]
    assert (first.method, first.scheme) == ("ours", "W4A4")
    stored = json.loads((BENCH / "accuracy.json").read_text())
    mine = next(r for r in stored["results"] if (r["model"], r["recipe"]) == ("bundled", "w4a4"))
    assert (first.ratio, first.kl) == (mine["ratio"], mine["kl"])
    assert len(outliers.scores) == sum(r["model"] == "outliers" for r in stored["results"])
    assert hybrid.model == "The bundled hybrid"
    assert stored["machine"] in bundled.origin


def test_what_evaluate_printed(write):
    (found,) = read_accuracy(write("accuracy.json", EVALUATED))
    assert found.model == "m.safetensors"
    assert found.scores[0].ratio_error == 0.002
    assert "4,096 tokens" in found.origin


def test_a_front(write):
    found = read_front(write("front.json", FRONT))
    assert found.points[0].name == "p1: 8 × 256 bits, 300 MHz, W4A4"
    assert found.points[0].values == {"tokens_per_second": 99.5, "device_share": 0.25}
    assert found.content == FRONT


def test_a_synthesis(write):
    found = read_synthesis(write("synthesis.json", SYNTHESIS), subject())
    assert found.total == Amount(11, 22, 3, 4, 5)
    assert found.blocks == {"lane × 32": Amount(224, 256, 32, 64, 0), "ssm": Amount(9, 8, 1, 2, 0)}
    assert found.flow == "Yosys 0.52, xcup"
    assert (found.path_ns, found.fmax_mhz) == (2.5, None)


def test_a_synthesis_of_something_else(write):
    with pytest.raises(InputError, match="it is of target u280, not of tiny"):
        read_synthesis(write("synthesis.json", SYNTHESIS), subject("demo", "tiny"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("{", "is not such a file"), ("[1]", "it is no JSON object"), ({}, "lacks the key"),
        (FRONT | {"points": []}, "its front has no points"),
        (FRONT | {"points": [{"name": "p1"}]}, "lacks the key 'machine'"),
        (FRONT | {"best": {"tokens_per_second": "p9"}}, "there is no point p9"),
        (FRONT | {"tried": [{"scheme": "w4a4"}]}, "lacks the key 'device_share'"),
    ],
)  # fmt: skip
def test_what_is_no_front(write, values, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        read_front(write("front.json", values))
    assert "lightmamba explore" in str(refused.value)


def test_folders_of_results(write, tmp_path):
    of = subject()
    write("simulation.json", simulation(of).to_dict())
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InputError, match=r"other has none of simulation.json, synthesis.json"):
        read_results([tmp_path, other], of)
    (other / "front.json").write_text(json.dumps(FRONT))
    (other / "simulation.json").write_text("{")  # the first folder's counts
    found = read_results([tmp_path, other], of)
    assert found.simulation == simulation(of)
    assert found.front is not None
    assert (found.synthesis, found.accuracy) == (None, ())
    assert asdict(read_results([], of)) == {
        "simulation": None, "synthesis": None, "accuracy": (), "front": None
    }  # fmt: skip


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.json: No such file"):
        read_simulation(tmp_path / "none.json", subject())
