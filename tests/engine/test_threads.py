"""An engine in several threads, and in a child of a process that was in the middle of a pass."""

import multiprocessing
import threading
import time
from collections import Counter

import numpy as np
import pytest

from lightmamba.common.forks import ForkLock
from lightmamba.common.passes import Pass, Slot
from lightmamba.engine import Engine
from tests.engine.models import case
from tests.engine.test_failed import MODELS
from tests.support.builders import token_ids

TIMES = 4


class SlowCounter(Counter[str]):
    """Reads, waits, and writes: an update that another thread gets in between loses counts."""

    def update(self, *args, **more):
        before = dict(self)
        time.sleep(0.01)
        for kind, count in Counter(*args, **more).items():
            self[kind] = before.get(kind, 0) + count


@pytest.mark.parametrize("compiled", [True, False])
def test_two_threads_lose_no_counts(compiled):
    model = case("w4a4")
    ids = token_ids(model.config, 1, 4)[0]
    work = Pass((Slot(0, ids, commit=2),))

    def passes(engine):
        state = engine.empty_state(1, undecided=2)
        for _ in range(TIMES):
            engine.run(work, state)

    alone, both = Engine(model, compiled=compiled), Engine(model, compiled=compiled)
    passes(alone)
    both.counters = SlowCounter()
    threads = [threading.Thread(target=passes, args=(both,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert alone.counters["clipped"] > 0
    twice = Counter({kind: 2 * count for kind, count in alone.counters.items()})
    assert Counter(both.counters) == twice


def _runs(engine, ids, said):
    said.put(engine.forward(ids, engine.empty_state(1))[0].tolist())


def in_a_child(function, *args):
    """Item that a child of fork puts into a queue, within ten seconds."""
    context = multiprocessing.get_context("fork")
    said = context.SimpleQueue()
    child = context.Process(target=function, args=(*args, said))
    child.start()
    child.join(10)
    alive = child.is_alive()
    child.kill()
    child.join()
    assert not alive, "the child waits for a lock that nobody gives back"
    return said.get()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_fork_waits_for_no_thread_of_its_parent():
    """Another thread is in a pass, with all locks, while this one forks; kernels use two more."""
    model = case("w4a4")
    ids, engine = token_ids(model.config, 1, 3), Engine(model, threads=2)
    wanted = engine.forward(ids, engine.empty_state(1))[0]
    assert engine.kernels is not None
    locks = (engine.kernels.lock, engine.kernels.context._lock, engine._counting)
    inside, done = threading.Event(), threading.Event()

    def pass_of_another_thread():
        with locks[0], locks[1], locks[2]:
            inside.set()
            done.wait()

    thread = threading.Thread(target=pass_of_another_thread)
    thread.start()
    inside.wait()
    workspace = engine.kernels.workspace(ids.size)
    workspace.lost[:] = 7  # as far as the pass has come
    try:
        np.testing.assert_array_equal(in_a_child(_runs, engine, ids), wanted)
        counts = in_a_child(_counts, engine, ids)
    finally:
        done.set()
        thread.join()
    assert counts == Counter(engine.counters)


def _counts(engine, ids, said):
    before = engine.counters.copy()
    engine.forward(ids, engine.empty_state(1))
    engine.counters.subtract(before)
    said.put(engine.counters)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("made", MODELS.values(), ids=MODELS)
def test_a_child_of_fork_leaves_its_parents_state_as_it_is(made, compiled):
    """Mamba2's states, pages of keys, and records of undecided tokens are copied by fork."""
    model = made()
    ids, engine = token_ids(model.config, 1, 6), Engine(model, compiled=compiled)
    alone, state = (engine.empty_state(1, undecided=2) for _ in range(2))
    for each in (alone, state):
        engine.run(Pass((Slot(0, ids[0, :3], commit=2),)), each)
    others = token_ids(model.config, 1, 4, seed=2)
    assert in_a_child(_continues, engine, others, state)
    rest = Pass((Slot(0, ids[0, 3:], wanted=3, replay=1),))
    np.testing.assert_array_equal(engine.run(rest, state), engine.run(rest, alone))


def _continues(engine, ids, state, said):
    engine.run(Pass((Slot(0, ids[0], replay=0),)), state)
    said.put(True)


def test_a_lock_is_one():
    lock = ForkLock()
    with lock:
        assert lock._lock.locked()
        ForkLock.renew()
        assert not lock._lock.locked()
        lock._lock.acquire()  # which the end of the block gives back
    assert not lock._lock.locked()
