"""Helpers that benchmarks share: the machine that they name."""

import pytest
from bench.common import machine, processor
from bench.stored import BENCHMARKS, RESULTS, foot, keep, rows

CLOUD = """processor\t: 0
model name\t: AMD EPYC
flags\t\t: fpu sse2 hypervisor avx2 avx512bw avx512_vnni

processor\t: 1
model name\t: AMD EPYC
flags\t\t: fpu sse2 hypervisor avx2 avx512bw avx512_vnni
"""


def test_virtual_processors_are_no_sockets():
    assert processor(CLOUD) == "2 vCPUs, AMD EPYC with avx512_vnni"
    one = CLOUD.partition("\n\n")[0].replace("hypervisor ", "").replace("avx512_vnni", "")
    assert processor(one) == "1 hardware thread, AMD EPYC with avx512bw"
    assert processor(one.replace("avx", "sse")) == "1 hardware thread, AMD EPYC"
    assert processor("processor\t: 0\n") is None


def test_this_machine_has_a_name():
    assert ", Python 3." in machine()
    assert not machine().startswith(", ")


def test_no_result_counts_sockets():
    for name in BENCHMARKS:
        assert not [row for row in rows(name) if " x " in row["made"]["computer"]], name


def test_every_file_of_results_is_a_benchmarks():
    names = {path.stem for path in RESULTS.glob("*.jsonl")}
    assert names <= {*BENCHMARKS, "front-u280", "simulation-u280"}
    for name in names & set(BENCHMARKS):
        assert all(set(BENCHMARKS[name].of) <= set(row) for row in rows(name)), name


@pytest.fixture
def stored(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.stored.RESULTS", tmp_path / "results")
    monkeypatch.setattr("bench.stored.commit", lambda: "abc")
    monkeypatch.setattr("bench.stored.machine", lambda: "a computer")


def test_a_row_replaces_the_one_of_the_same(stored):
    assert rows("rates") == []
    for cycles in (1, 2):
        keep("rates", {"order": "naive", "beats_per_cycle": 0.5, "cycles": cycles})
    keep("rates", {"order": "naive", "beats_per_cycle": 1.0, "cycles": 3})
    assert [row["cycles"] for row in rows("rates")] == [2, 3]
    keep(
        "rates",
        {"order": "reordered", "beats_per_cycle": 0.5, "cycles": 4},
        stay=lambda row: row["cycles"] > 2,
    )
    assert [row["cycles"] for row in rows("rates")] == [3, 4]
    with pytest.raises(KeyError, match="order"):
        keep("rates", {"beats_per_cycle": 0.5})


def test_a_row_says_how_it_came_about(stored):
    keep("rates", {"order": "naive", "beats_per_cycle": 0.5})
    keep("rates", {"order": "naive", "beats_per_cycle": 1, "how": "estimated"}, command="other")
    one, two = rows("rates")
    assert (one["made"]["how"], two["made"]["how"]) == ("simulated", "estimated")
    said = foot([one, two])
    assert said.startswith(
        "\nEstimated and simulated by `other`, `python -m bench.rates` on a comp"
    )
    assert said.endswith(", commit abc.\n")
    keep("boards", {"target": "t", "shape": "s"})
    assert foot(rows("boards")).startswith("\nComputed by `python -m bench.boards`, 20")
