"""Failures of one sequence end that one; slow work for one does not hold the lock."""

import threading
from typing import Any

import pytest

from lightmamba.common.errors import DeviceError
from lightmamba.serve.drafts import Drafts
from lightmamba.serve.errors import ApiError
from lightmamba.text import NgramDrafter
from tests.serve.counting import Bench, driven, errors


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("a tokenizer that cannot decode this")


@pytest.mark.parametrize(("passes", "choices"), [(0, 1), (2, 1), (1, 3)])
@driven
def test_a_draw_that_fails_ends_its_request_only(passes, choices):
    """All choices of it, but nothing else."""
    bench = Bench()
    first, poor, last = (bench.ask([n], tokens=5, n=(1, choices, 1)[n]) for n in range(3))
    bench.run(passes)
    text: Any = poor.sessions[0].text
    text.take = broken
    bench.run()
    assert [job.sessions[0].tokens for job in (first, last)] == [[1, 2, 3, 4, 5], [3, 4, 5, 6, 7]]
    (error,) = errors(bench, poor)
    assert (error.status, errors(bench, first), errors(bench, last)) == (500, [], [])
    assert "this request could not be computed" in error.message
    assert bench.backend.recovered == 0
    assert (bench.scheduler.running, bench.scheduler.waiting) == (0, 0)
    assert sorted(bench.scheduler.admission.free) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["longest", "put", "has"])
@driven
def test_a_cache_that_fails_ends_its_request_only(name):
    bench = Bench(cache=999)
    other = bench.ask([3], tokens=90)
    bench.run(1)
    setattr(bench.scheduler.batch.cache, name, broken)
    poor = bench.ask([1] * 300)
    bench.run()
    assert errors(bench, poor)[0].status == 500
    assert len(other.sessions[0].tokens) == 90
    assert bench.backend.recovered == 0


@pytest.mark.parametrize("operation", ["run", "save"])
@driven
def test_a_device_that_fails_ends_what_runs_and_no_more(operation):
    """In a pass, and between two."""

    def gone(*_: object) -> None:
        raise DeviceError("memory answered with an error")

    bench = Bench(slots=2, cache=999)
    running, waiting = [bench.ask([3], tokens=90), bench.ask([1] * 300)], bench.ask([2])
    backend: Any = bench.backend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, operation, gone)
        while not errors(bench, running[0]):
            bench.run(1)
    bench.run()
    for job in running:
        assert errors(bench, job)[0].status == 503
        assert "memory answered with an error; the server goes on" in errors(bench, job)[0].message
    assert waiting.sessions[0].tokens == [3, 4, 5]
    assert bench.backend.recovered == 1
    assert (bench.scheduler.running, len(bench.scheduler.admission.free)) == (0, 2)


@driven
def test_a_device_that_comes_back_is_used_again(monkeypatch):
    """Until then all requests are refused, and those that ran or waited end."""

    def gone(*_: object) -> None:
        raise DeviceError("no interrupt in 5 s")

    bench = Bench(slots=1)
    jobs = [bench.ask([3], tokens=90), bench.ask([2])]
    monkeypatch.setattr(bench.backend, "run", gone)
    monkeypatch.setattr(bench.backend, "recover", gone)
    bench.run(1)
    for job in jobs:
        assert errors(bench, job)[0].status == 503
    assert (bench.scheduler.running, bench.scheduler.waiting) == (0, 0)
    for _ in range(3):
        with pytest.raises(ApiError, match=r"no interrupt in 5 s.*keeps trying") as refused:
            bench.ask([1])
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "30"})
        bench.scheduler.set_up_again()
    monkeypatch.undo()
    bench.scheduler.set_up_again()
    job = bench.ask([7])
    bench.run()
    assert job.sessions[0].tokens == [8, 9, 0]


@driven
def test_a_state_is_restored_while_others_may_submit():
    """On a device that takes seconds; the event loop must not wait for it."""
    bench = Bench(cache=9999)
    bench.ask([1] * 300)
    bench.run()
    other, returned = bench.ask([2]), list[bool]()
    backend: Any = bench.backend
    restore = backend.restore

    def slow(slot, saved, *rest):
        asking = threading.Thread(target=bench.scheduler.cancel, args=(other,))
        asking.start()
        asking.join(2)
        returned.append(not asking.is_alive())
        restore(slot, saved, *rest)

    backend.restore = slow
    job = bench.ask([1] * 300)
    bench.run()
    assert returned == [True]
    assert job.cached_tokens == 299


@driven
def test_a_drafter_that_fails_drafts_no_more():
    class Poor(NgramDrafter):
        def draft(self, ids, most, trial):
            raise RuntimeError("a model that cannot read this")

    drafts = Drafts(Poor)
    drafts.note(1, 1.0)
    bench = Bench(drafts=drafts)
    job = bench.ask([1], tokens=9)
    bench.run()
    assert job.sessions[0].tokens == [2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert errors(bench, job) == []
