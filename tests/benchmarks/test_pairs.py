"""Programs in turns: the statistics, the order, what is counted, and real worker processes."""

import sys
import time
from contextlib import closing
from statistics import median
from typing import Any

import pytest
from bench.engine_pairs import Worker, in_turns, ratios

from lightmamba.common.errors import InputError
from lightmamba.common.speed import decode, prompt, spread


def test_median_and_range():
    found = spread([5.0, 1.0, 9.0, 2.0])
    assert (found.median, found.low, found.high) == (3.5, 1.0, 9.0)


def test_ratios_are_of_rounds_and_not_of_medians():
    """A machine that slows down for both in the same round does not change the ratio."""
    ours, theirs = [100.0, 20.0, 90.0], [50.0, 10.0, 10.0]
    found = ratios(ours, theirs)
    assert (found.median, found.low, found.high) == (2.0, 2.0, 9.0)
    assert median(ours) / median(theirs) == 9.0
    with pytest.raises(ValueError, match="zip"):
        ratios(ours, theirs[:2])


class Fake:
    """A worker on a clock of its own making: tasks take seconds, waiting takes a share of them."""

    clock = 0.0

    def __init__(self, name, log, spins=0.0):
        self.name, self.log, self.spins = name, log, spins
        self.own = self.began = 0.0

    def ask(self, task):
        self.log.append((self.name, task[0]))
        Fake.clock += 2.0
        self.own += 2.0 * (1 - self.spins)
        return len(self.log)

    def seconds(self):
        return self.own + self.spins * Fake.clock


def test_turns_alternate_and_the_first_round_does_not_count(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", lambda: Fake.clock)
    log: list[tuple[str, str]] = []
    workers: Any = {"a": Fake("a", log), "b": Fake("b", log, spins=0.25)}
    runs = in_turns(workers, [("decode", {}), ("prompt", {})], 2, probe=lambda: len(log))
    names = [name for name, _ in log]
    assert [task for _, task in log] == ["decode"] * 2 + ["prompt"] * 2 + [
        "decode", "decode", "prompt", "prompt"] * 2  # fmt: skip
    assert names == ["b", "a"] * 2 + ["a", "b"] * 2 + ["b", "a"] * 2
    assert runs.rates == {
        "decode": {"a": [5, 10], "b": [6, 9]},
        "prompt": {"a": [7, 12], "b": [8, 11]},
    }
    assert runs.idle == {"a": 0.0, "b": 0.25}
    assert runs.probes == [8, 12]


class Counter:
    """A decoder that counts what it is fed."""

    def __init__(self):
        self.fed, self.cleared = [], 0

    def clear(self):
        self.cleared += 1

    def feed(self, ids):
        self.fed.append(ids)
        return ids[-1] + 1


def test_decoding_is_greedy_and_begins_anew():
    decoder = Counter()
    assert decode(decoder, warm=2, tokens=3) > 0
    assert decoder.fed == [[1], [2], [3], [4], [5]]
    assert prompt(decoder, ids=[7, 8]) > 0
    assert decoder.fed[-1] == [7, 8]
    assert decoder.cleared == 2


NOISY = """
from bench.engine_serve import serve
class Noisy:
    def clear(self): print("cleared", flush=True)
    def feed(self, ids): print("fed", flush=True); return 0
serve(Noisy)
"""


def test_a_real_worker_answers_and_keeps_its_chatter_apart(capfd):
    with closing(Worker([sys.executable, "-c", NOISY])) as worker:
        assert worker.ask(("decode", {"warm": 1, "tokens": 2})) > 0
        assert worker.ask(("prompt", {"ids": [1, 2, 3]})) > 0
        held = worker.ask(("memory", {}))
        if sys.platform == "linux":
            assert 0 < held["in_files"] < held["resident"] <= held["peak"]
            assert worker.seconds() > 0
    assert worker.process.returncode == 0
    assert "fed" in capfd.readouterr().err


def test_a_worker_that_ends_is_named():
    with pytest.raises(InputError, match=r"status 3; see above: .*raise SystemExit"):
        Worker([sys.executable, "-c", "raise SystemExit(3)"])
