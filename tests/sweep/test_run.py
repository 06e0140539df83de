"""Jobs that are done, their order, and those that are not done twice."""

from functools import partial

import pytest

from lightmamba.common.errors import InputError
from lightmamba.study.sweep.api import pending, run_jobs
from lightmamba.study.sweep.results import RESULTS, is_done, open_results, read_results
from lightmamba.study.sweep.runner import in_process, record_of
from tests.sweep.cases import broken, cell_of, invented

JOBS = [cell_of(recipe, text) for recipe in (None, "w4a4", "w8a8") for text in ("a", "b")]


def run(folder, work=invented, jobs=JOBS, **more):
    """Do the jobs in this process; return how many, and all records of the folder."""
    with open_results(folder) as results:
        done = run_jobs(jobs, results, folder, partial(in_process, work=work), **more)
    return done, read_results(folder)


def test_files_are_made_once_and_their_cells_follow(tmp_path):
    """So that a sweep that is stopped has whole rows; estimates, of seconds, come first."""
    targets = [cell_of("w4a4", target="tiny"), cell_of("w8a8", target="tiny")]
    done, found = run(tmp_path / "s", jobs=[*JOBS, *targets])
    assert done == 10
    assert [record.values["is"] for record in found] == [
        "m, w4a4, tiny",
        "m, w8a8, tiny",
        "m, float, a",
        "m, float, b",
        "m, w4a4, quantize",
        "m, w4a4, a",
        "m, w4a4, b",
        "m, w8a8, quantize",
        "m, w8a8, a",
        "m, w8a8, b",
    ]
    assert len(list((tmp_path / "s" / "files").iterdir())) == 2


def test_nothing_is_done_twice(tmp_path):
    class Stop(Exception):
        pass

    def tell(record):
        if record.what["measure"] == "b":
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "s", tell=tell)
    before = read_results(tmp_path / "s")
    assert len(before) == 2
    assert run(tmp_path / "s")[0] == 6
    done, found = run(tmp_path / "s", broken)
    assert done == 0
    assert found[:2] == before
    assert len(found) == 8


def test_a_file_that_is_gone_is_made_again_for_those_who_need_it(tmp_path):
    jobs = [job for job in JOBS if job.cell["recipe"] == "w4a4"]
    run(tmp_path / "s", jobs=jobs[:1])
    for file in (tmp_path / "s" / "files").iterdir():
        file.unlink()
    with open_results(tmp_path / "s") as results:
        assert pending(jobs[:1], results, tmp_path / "s") == []
        assert pending(jobs, results, tmp_path / "s") == [jobs[1].file, jobs[1]]
    assert run(tmp_path / "s", jobs=jobs)[0] == 2


def test_a_failure_takes_its_cells_with_it_and_nothing_else(tmp_path):
    done, found = run(tmp_path / "s", broken)
    assert done == 8
    failed = {
        (record.what["recipe"], record.what["measure"]): record.values["error"]
        for record in found
        if not is_done(record)
    }
    assert failed == {
        ("w4a4", None): "no luck",
        ("w4a4", "a"): "its quantized file was not made: no luck",
        ("w4a4", "b"): "its quantized file was not made: no luck",
    }
    assert run(tmp_path / "s")[0] == 3  # what failed is tried again
    assert run(tmp_path / "s")[0] == 0


def test_progress_goes_up_to_the_end(tmp_path):
    seen = []
    run(tmp_path / "s", progress=lambda *now: seen.append(now))
    assert seen == sorted(seen)
    assert seen[0] == (500, 8000)  # half of the first of eight
    assert seen[-1] == (8000, 8000)


def test_a_record_says_what_it_took(tmp_path):
    def slow(order, *_):
        return record_of(order, {"x": 1}, seconds=1.23456, computer="there")

    _, (record,) = run(tmp_path / "s", slow, JOBS[:1], threads=3)
    names = ("seconds", "computer", "threads")
    assert [record.made[name] for name in names] == [1.235, "there", 3]
    assert record.what["inputs"] == JOBS[0].inputs
    assert len(record.made["code"]) == 12


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="holds other things than a sweep"):
        open_results(tmp_path)
    with pytest.raises(InputError, match="holds no results of a sweep"):
        read_results(tmp_path)
    (tmp_path / RESULTS).write_text("{}\n")
    with pytest.raises(InputError, match=f"{RESULTS} holds no records"):
        open_results(tmp_path)


def test_two_sweeps_do_not_write_into_one_folder(tmp_path):
    with open_results(tmp_path / "s"):
        with pytest.raises(InputError, match="in use by another process; wait for it, or give -o"):
            open_results(tmp_path / "s")
        assert read_results(tmp_path / "s") == []  # looking is allowed
    open_results(tmp_path / "s").close()
