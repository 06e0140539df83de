"""The folder of a sweep: one writer, nothing else in it."""

import multiprocessing

import pytest

from lightmamba.common.errors import InputError
from lightmamba.common.store import Record
from lightmamba.study.sweep.results import RESULTS, Results, is_done, read_results

DONE = Record("k", {"perplexity": 2.0}, {"kind": "text"})
FAILED = Record("j", {"error": "no"}, {"kind": "text"})


def test_records_come_back(tmp_path):
    with Results(tmp_path / "s") as results:
        results.add(DONE)
        results.add(FAILED)
    assert read_results(tmp_path / "s") == [DONE, FAILED]
    assert [is_done(record) for record in read_results(tmp_path / "s")] == [True, False]
    with Results(tmp_path / "s") as again:
        assert list(again) == [DONE, FAILED]


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
    (tmp_path / RESULTS).write_text("{}\n")
    with pytest.raises(InputError, match=f"{RESULTS} holds no records"):
        Results(tmp_path)


def _open(folder, said):
    try:
        Results(folder).close()
    except InputError as error:
        said.put(str(error))
    else:
        said.put("opened")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_two_sweeps_do_not_write_into_one_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    said = context.SimpleQueue()

    def other():
        process = context.Process(target=_open, args=(tmp_path / "s", said))
        process.start()
        process.join()
        return said.get()

    with Results(tmp_path / "s"):
        assert "in use by another process; wait for it, or give -o another" in other()
        assert read_results(tmp_path / "s") == []  # looking is allowed
    assert other() == "opened"
