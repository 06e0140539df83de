"""Jobs that are done, their order, and those that are not done twice."""

from collections import deque

import pytest

from lightmamba.study.sweep.results import Results, is_done, read_results
from lightmamba.study.sweep.runner import InProcess
from lightmamba.study.sweep.schedule import pending, run_jobs
from lightmamba.study.sweep.work import Order, Outcome
from tests.sweep.cases import broken, cell_of, invented

JOBS = [cell_of(recipe, text) for recipe in (None, "w4a4", "w8a8") for text in ("a", "b")]
CELLS = [job.title for job in JOBS]


class Backwards:
    """Three at a time, the last one first."""

    places, threads = 3, 1

    def __init__(self):
        self.orders: deque[Order] = deque()
        self.most = 0

    def start(self, order):
        self.orders.append(order)
        self.most = max(self.most, len(self.orders))

    def wait(self, progress):
        return invented(self.orders.pop())

    def close(self):
        pass


def run(folder, runner, jobs=JOBS, **more):
    with Results(folder) as results:
        return run_jobs(jobs, results, folder, runner, **more)


@pytest.mark.parametrize("runner", [InProcess(do=invented), Backwards()])
def test_files_are_made_once_before_they_are_read(tmp_path, runner):
    assert run(tmp_path / "s", runner) == 8
    found = read_results(tmp_path / "s")
    assert len(found) == 8
    assert sorted(r.values["is"] for r in found if r.what["measure"]) == sorted(CELLS)
    assert sum(record.what["kind"] == "quantize" for record in found) == 2
    assert len(list((tmp_path / "s" / "files").iterdir())) == 2
    assert getattr(runner, "most", 3) == 3


def test_cells_of_a_file_follow_it(tmp_path):
    """So that a sweep that is stopped has whole rows."""
    run(tmp_path / "s", InProcess(do=invented))
    titles = [record.values["is"] for record in read_results(tmp_path / "s")]
    assert titles[2:5] == ["m, w4a4, quantize", "m, w4a4, a", "m, w4a4, b"]


def test_targets_are_estimated_before_anything_is_quantized(tmp_path):
    jobs = [*JOBS, cell_of("w4a4", target="tiny"), cell_of("w8a8", target="tiny")]
    run(tmp_path / "s", InProcess(do=invented), jobs)
    titles = [record.values["is"] for record in read_results(tmp_path / "s")]
    assert titles[:3] == ["m, w4a4, tiny", "m, w8a8, tiny", "m, float, a"]


def test_nothing_is_done_twice(tmp_path):
    class Stop(Exception):
        pass

    def tell(record):
        if record.what["measure"] == "b":
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path / "s", InProcess(do=invented), tell=tell)
    before = read_results(tmp_path / "s")
    assert len(before) == 2
    assert run(tmp_path / "s", InProcess(do=invented)) == 6
    assert run(tmp_path / "s", InProcess(do=broken)) == 0
    found = read_results(tmp_path / "s")
    assert found[:2] == before
    assert len(found) == 8


def test_a_file_that_is_gone_is_made_again_for_those_who_need_it(tmp_path):
    jobs = [job for job in JOBS if job.recipe_name == "w4a4"]
    run(tmp_path / "s", InProcess(do=invented), jobs[:1])
    for file in (tmp_path / "s" / "files").iterdir():
        file.unlink()
    with Results(tmp_path / "s") as results:
        assert pending(jobs[:1], results, tmp_path / "s") == []
        assert pending(jobs, results, tmp_path / "s") == [jobs[1].file, jobs[1]]
    assert run(tmp_path / "s", InProcess(do=invented), jobs) == 2


def test_a_failure_takes_its_cells_with_it_and_nothing_else(tmp_path):
    assert run(tmp_path / "s", InProcess(do=broken)) == 8
    failed = {
        (record.what["recipe"], record.what["measure"]): record.values["error"]
        for record in read_results(tmp_path / "s")
        if not is_done(record)
    }
    assert failed == {
        ("w4a4", None): "no luck",
        ("w4a4", "a"): "its quantized file was not made: no luck",
        ("w4a4", "b"): "its quantized file was not made: no luck",
    }
    assert run(tmp_path / "s", InProcess(do=invented)) == 3  # what failed is tried again
    assert run(tmp_path / "s", InProcess(do=invented)) == 0


def test_progress_goes_up_to_the_end(tmp_path):
    seen = []
    run(tmp_path / "s", InProcess(do=invented), progress=lambda *now: seen.append(now))
    assert seen == sorted(seen)
    assert seen[0] == (500, 8000)  # half of the first of eight
    assert seen[-1] == (8000, 8000)


def test_a_record_says_what_it_took(tmp_path):
    def slow(order, progress):
        return Outcome(order.job.key, {"x": 1}, seconds=1.23456, host="there", attempts=2)

    run(tmp_path / "s", InProcess(3, slow), JOBS[:1])
    (record,) = read_results(tmp_path / "s")
    names = ("seconds", "computer", "attempts", "threads")
    assert [record.made[name] for name in names] == [1.235, "there", 2, 3]
    assert record.what["inputs"] == JOBS[0].inputs
    assert len(record.made["code"]) == 12
