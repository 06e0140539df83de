"""Stored results come back, and what is not one is refused in one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.store import Record, Store, read_store
from lightmamba.hardware.estimate import Amount
from lightmamba.study.report import rows
from lightmamba.study.report.read import (
    accuracy_of,
    front_of,
    read_results,
    simulation_of,
    synthesis_of,
)
from tests.report.cases import simulation, subject

BENCH = Path(__file__).parents[2] / "bench/results/accuracy.jsonl"
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


def record(kind, values):
    """As a file of records has it."""
    return Record(kind, json.loads(json.dumps(values)), {"kind": kind})


def test_a_simulation():
    of = subject()
    found = simulation(of)
    assert simulation_of(record("simulation", found.to_dict()), of) == found


def test_a_simulation_of_before_a_parameter():
    """A build parameter that a record does not know has its default."""
    of = subject()
    found = simulation(of)
    arch = {name: value for name, value in found.machine["arch"].items() if name != "counters"}
    older = replace(found, machine={**found.machine, "arch": arch})
    assert simulation_of(record("simulation", older.to_dict()), of).cycles == found.cycles


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target": "tiny"}, "is of another target than mamba2-2.7b on u280; its target is tiny"),
        ({"clock_mhz": 200.0}, "its clock_mhz is 200.0, not 300.0"),
        ({"config": {}}, "is of another config than"),
        ({"arch": None}, "is of another arch than"),
        ({"arch": {"lanes": 3}}, "is of another arch than"),
    ],
)
def test_a_simulation_of_something_else(change, sentence):
    of = subject()
    found = simulation(of)
    other = replace(found, machine={**found.machine, **change})
    with pytest.raises(InputError, match=sentence):
        simulation_of(record("simulation", other.to_dict()), of)


def test_a_simulation_with_stalls_is_no_speed_of_the_machine():
    of = subject()
    stalled = replace(simulation(of), memory_stalls=0.3)
    with pytest.raises(InputError, match=r"stalled at random \(--stalls 0.3\)"):
        simulation_of(record("simulation", stalled.to_dict()), of)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda v: v.pop("cycles"), "missing required field `cycles`"),
        (lambda v: v["stalls_per_token"].pop("idle"), "lacks the cycles idle"),
        (lambda v: v.update(tokens="many"), r"Expected `int`, got `str` - at `\$.tokens`"),
        (lambda v: v["activity"]["token"].update(bin_cycles=0), "bin_cycles must be at least 1"),
        (lambda v: v["bytes_per_token"].pop("ddr4-0"), "lacks channels of u280"),
    ],
)
def test_a_damaged_simulation(spoil, sentence):
    of = subject()
    values = json.loads(json.dumps(simulation(of).to_dict()))
    spoil(values)
    with pytest.raises(InputError, match=sentence) as refused:
        simulation_of(record("simulation", values), of)
    assert "lightmamba simulate BUILD --results FILE" in str(refused.value)


def test_what_the_benchmark_measured():
    stored = read_store(BENCH)
    bundled, outliers, hybrid, experts = accuracy_of(stored)
    assert bundled.model == "The bundled model"
    first = bundled.scores[0]
    assert first.method == "ours"
    (mine,) = (r for r in stored if r.key == f"bundled, ours, {first.scheme.lower()}")
    assert (first.ratio, first.kl) == (mine.values["ratio"], mine.values["kl"])
    assert len(outliers.scores) == sum(r.what["model"] == "outliers" for r in stored)
    assert hybrid.model == "The bundled hybrid"
    assert experts.model == "The bundled mixture of experts"
    assert {score.method for score in experts.scores} == {"ours"}
    assert mine.made["computer"] in bundled.origin


def test_what_evaluate_found():
    (found,) = accuracy_of([record("accuracy", EVALUATED)])
    assert found.model == "m.safetensors"
    assert found.scores[0].ratio_standard_error == 0.002
    assert "4,096 tokens" in found.origin


def test_a_front():
    found = front_of(record("front", FRONT))
    assert found == FRONT
    assert rows.front(found).rows[0].cells == (
        "p1: 8 × 256 bits, 300 MHz, W4A4",
        "99.5",
        "25.0\u202f%",
    )


def test_a_synthesis():
    found = synthesis_of(record("synthesis", SYNTHESIS), subject())
    assert found.total == Amount(11, 22, 3, 4, 5)
    assert found.amounts == {"lane × 32": Amount(224, 256, 32, 64, 0), "ssm": Amount(9, 8, 1, 2, 0)}
    assert found.how == "Yosys 0.52, xcup"
    assert (found.path_ns, found.fmax_mhz) == (2.5, None)


def test_a_synthesis_of_something_else():
    with pytest.raises(InputError, match="is of target u280, not of tiny"):
        synthesis_of(record("synthesis", SYNTHESIS), subject("demo", "tiny"))


def test_a_synthesis_with_other_luts_than_the_devices():
    of = subject("demo", "ulx3s")
    values = SYNTHESIS | {"target": "ulx3s"}
    with pytest.raises(InputError, match="not those of target ulx3s; add one with: lightmamba"):
        synthesis_of(record("synthesis", values), of)
    found = synthesis_of(record("synthesis", values | {"flow": "ecp5"}), of)
    assert found.total == Amount(11, 22, 3, 4, 5)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "missing required field"),
        (FRONT | {"points": []}, r"array` of length >= 1 - at `\$.points`"),
        (FRONT | {"points": [{"name": "p1"}]}, r"missing required field `.*` - at `\$.points.0.`"),
        (FRONT | {"best": {"tokens_per_second": "p9"}}, "the front has no point p9"),
        (FRONT | {"tried": [{"scheme": "w4a4"}]}, r"field `device_share` - at `\$.tried.0.`"),
        (FRONT | {"tried": [{"scheme": "w4a4", "device_share": 1}]}, "field `tokens_per_second`"),
    ],
)  # fmt: skip
def test_what_is_no_front(values, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        front_of(record("front", values))
    assert "lightmamba explore" in str(refused.value)


def test_files_of_results(tmp_path):
    of = subject()
    one, other, empty = (tmp_path / name for name in ("one.jsonl", "other.jsonl", "empty.jsonl"))
    slower = replace(simulation(of), cycles_per_token=1e6)
    for path, records in (
        (one, [record("simulation", slower.to_dict()), Record("x", {}, {"kind": "unknown"})]),
        (other, [record("simulation", simulation(of).to_dict()), record("front", FRONT)]),
        (empty, [Record("x", {}, {"kind": "unknown"})]),
    ):
        with Store(path, "--results") as store:
            for each in records:
                store.add(each)
    assert read_results([one], of) == {"simulation": slower}
    found = read_results([one, other], of)  # of two simulations the last one counts
    assert found == {"simulation": simulation(of), "front": FRONT}
    assert read_results([], of) == {}
    with pytest.raises(InputError, match=r"empty\.jsonl holds nothing for a page; add one with"):
        read_results([other, empty], of)
    with pytest.raises(InputError, match=r"cannot read .*none\.jsonl: No such file"):
        read_results([tmp_path / "none.jsonl"], of)
