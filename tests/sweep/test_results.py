"""The file of results: whole lines, one writer, nothing lost."""

import json
import math
import multiprocessing

import pytest

from lightmamba.errors import InputError
from lightmamba.sweep.results import RESULTS, Results, latest, read_results

ROW = {"key": "k", "status": "done", "kind": "text", "result": {"perplexity": 2.0}}
FAILED = {"key": "k", "status": "failed", "kind": "text", "error": "no"}


def test_rows_come_back(tmp_path):
    with Results(tmp_path / "s") as results:
        results.add(ROW)
        results.add({**FAILED, "key": "j", "seconds": math.inf})
    kept = read_results(tmp_path / "s")
    assert kept == [ROW, {**FAILED, "key": "j", "seconds": None}]
    with Results(tmp_path / "s") as again:
        assert again.rows == kept


def test_a_torn_line_is_dropped_and_written_over(tmp_path):
    whole = json.dumps(ROW) + "\n"
    (tmp_path / RESULTS).write_text(whole + whole[:20])
    assert read_results(tmp_path) == [ROW]
    with Results(tmp_path) as results:
        assert results.rows == [ROW]
        results.add({**ROW, "key": "next"})
    assert [row["key"] for row in read_results(tmp_path)] == ["k", "next"]
    (tmp_path / RESULTS).write_text(whole[:20])  # nothing but a torn line
    with Results(tmp_path) as results:
        assert results.rows == []


@pytest.mark.parametrize("line", ["no json", "[1]", "{}", '{"key": "k"}'])
def test_another_line_is_named(tmp_path, line):
    (tmp_path / RESULTS).write_text(f"{json.dumps(ROW)}\n{line}\n{json.dumps(ROW)}\n")
    with pytest.raises(InputError, match=r"line 2 of .* is no result"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="line 2"):
        Results(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds other things than a sweep"):
        Results(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        Results(tmp_path / "thesis.tex")
    with pytest.raises(InputError, match="there is no folder"):
        Results(tmp_path / "a" / "b")
    with pytest.raises(InputError, match="holds no results of a sweep"):
        read_results(tmp_path)


def _open(folder, said):
    try:
        Results(folder).close()
    except InputError as error:
        said.put(str(error))
    else:
        said.put("opened")


def test_two_sweeps_do_not_write_into_one_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    said = context.SimpleQueue()

    def other():
        process = context.Process(target=_open, args=(tmp_path / "s", said))
        process.start()
        process.join()
        return said.get()

    with Results(tmp_path / "s"):
        assert "another sweep writes into" in other()
        assert read_results(tmp_path / "s") == []  # looking is allowed
    assert other() == "opened"


def test_a_result_outlives_a_later_failure():
    assert latest([FAILED, ROW])["k"] == ROW
    assert latest([ROW, FAILED])["k"] == ROW
    assert latest([FAILED, {**FAILED, "error": "again"}])["k"]["error"] == "again"
