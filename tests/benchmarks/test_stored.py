"""Stored rows of the benchmarks: who wrote them, and the computer that they name."""

from datetime import UTC, datetime

import pytest
from bench.common import machine, processor
from bench.history import changed_by_hand, of_no_commit
from bench.stored import BENCHMARKS, RESULTS, checked, foot, keep, rows

from lightmamba.common.errors import InputError
from lightmamba.common.store import Record, Store, read_store

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
        # Rows of a ULX3S of before there were two models do not name theirs.
        older = {"model"} if name.startswith("ulx3s") else set()
        assert all(set(BENCHMARKS[name].of) <= set(row) | older for row in rows(name)), name


@pytest.fixture
def stored(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.stored.RESULTS", tmp_path / "bench/results")
    (tmp_path / "bench").mkdir()
    monkeypatch.setattr("bench.stored.BEGUN", "abc")
    monkeypatch.setattr("bench.stored.changed_since", lambda commit: False)
    monkeypatch.setattr("bench.stored.machine", lambda: "a computer, Python 3")
    return tmp_path / "bench/results/drift.jsonl"


def drift(state, **values):
    return {"recipe": "w4a4", "state": state, **values}


def test_a_row_replaces_the_one_of_the_same(stored):
    assert rows("drift") == []
    for change in (1, 2):
        keep("drift", drift("8", change=change))
    keep("drift", drift("12", change=3))
    assert [row["change"] for row in rows("drift")] == [2, 3]
    keep("drift", drift("16", change=4), stay=lambda row: row["change"] > 2)
    assert [row["change"] for row in rows("drift")] == [3, 4]
    with pytest.raises(KeyError, match="state"):
        keep("drift", {"recipe": "w4a4"})


def test_a_row_says_how_it_came_about(stored):
    keep("drift", drift("8"))
    keep("drift", drift("12", how="estimated"), command="other")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert foot(rows("drift")) == (
        f"\nMeasured {today} at abc by `python -m bench.drift` on a computer; "
        f"estimated {today} at abc by `other` on a computer.\n"
    )


def test_a_row_is_printed_also_where_nothing_is_kept(stored, capsys):
    keep("drift", drift("8", change=0.123456, rates={"ours": [1.0, 2.5, 3.0]}), dry=True)
    assert capsys.readouterr().out == "w4a4, 8: change 0.1235, rates ours 2.5 [1, 3]\n"
    assert rows("drift") == []


def test_many_commits_and_days_are_summed_up():
    made = {"how": "measured", "command": "c", "computer": "x"}
    found = [
        {"made": made | {"date": f"2026-11-{27 + n % 3}", "commit": f"abc{n}"}} for n in range(4)
    ]
    assert foot(found) == "\nMeasured 2026-11-27 to 29 at 4 commits by `c` on x.\n"
    found[0]["made"]["date"] = "2026-10-30"
    found[1]["made"]["computer"] = "y"
    line = "\nMeasured 2026-10-30 to 2026-11-29 at 4 commits by `c` on one of 2 computers.\n"
    assert foot(found) == line


def test_a_row_of_changed_code_says_so(stored, monkeypatch):
    monkeypatch.setattr("bench.stored.changed_since", lambda commit: True)
    keep("drift", drift("8"))
    assert rows("drift")[0]["made"]["commit"] == "abc+changes"


@pytest.mark.parametrize("edit", [
    lambda text: text.replace('"change":2', '"change":3'),
    lambda text: text.replace('"commit":"abc"', '"commit":"def"'),
    lambda text: text.replace('"state":"12"', '"state":"13"'),
])  # fmt: skip
def test_an_edit_by_hand_is_found(stored, edit):
    keep("drift", drift("8", change=1), drift("12", change=2))
    old = stored.read_text()
    stored.write_text(edit(old))
    assert stored.read_text() != old
    with pytest.raises(InputError, match=r"bench/results/drift\.jsonl:[23]: the row was edited"):
        rows("drift")


def test_a_cut_file_is_found(stored):
    keep("drift", drift("8", change=1), drift("12", change=2))
    stored.write_bytes(stored.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"bench/results/drift\.jsonl:3: the line is cut off"):
        rows("drift")
    stored.write_bytes(b"")
    with pytest.raises(InputError, match=r"bench/results/drift\.jsonl:1: the line is cut off"):
        rows("drift")


def test_a_hash_that_no_run_wrote_is_found(stored):
    keep("drift", drift("8", change=1), drift("12", change=2))
    before = stored.read_bytes()
    assert changed_by_hand(before, before) == []
    planted = []
    for record in read_store(stored):  # with a right check, as a script would write it
        made = record.made | ({"hardware": "0"} if record.what["state"] == "12" else {})
        planted.append(checked(Record(record.key, record.values, record.what, record.how, made)))
    with Store(stored, "bench") as store:
        store.rewrite(planted)
    assert len(rows("drift")) == 2
    assert changed_by_hand(before, stored.read_bytes()) == ["w4a4, 12"]
    later = [
        checked(Record(r.key, r.values, r.what, r.how, r.made | {"date": "2030-01-01 00:00"}))
        for r in planted
    ]
    with Store(stored, "bench") as store:
        store.rewrite(later)
    assert changed_by_hand(before, stored.read_bytes()) == []


def test_a_row_whose_commit_is_not_in_the_repository_is_found(stored):
    keep("drift", drift("8", change=1))
    assert of_no_commit(stored.read_bytes(), ["1234", "abcdef"]) == []
    assert of_no_commit(stored.read_bytes(), ["1234", "ab"]) == ["w4a4, 8"]
