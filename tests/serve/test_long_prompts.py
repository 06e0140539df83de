"""A short request gets its first token soon, whatever prompts are read in the other slots."""

import math

import pytest

from lightmamba.serve.jobs import Job
from lightmamba.serve.prefix import BLOCK
from lightmamba.text import NgramDrafter
from tests.serve.counting import Bench, Wrong, driven

LONG = 3000


def first_token(bench: Bench, job: Job) -> int:
    """Passes until a job has a token."""
    before = len(bench.backend.passes)
    while not job.sessions[0].tokens:
        bench.run(1)
    return len(bench.backend.passes) - before


@pytest.mark.parametrize("cache", [0, 999])
@pytest.mark.parametrize("choices", [1, 2])
@driven
def test_sixteen_tokens_behind_long_prompts(cache, choices):
    bench = Bench(slots=24, pass_tokens=BLOCK, cache=cache)
    long = [bench.ask([n % 9] * LONG) for n in range(23)]
    bench.run(4)
    assert first_token(bench, bench.ask([1] * 16, n=choices)) <= 3
    assert not any(job.sessions[0].tokens for job in long)


@driven
def test_short_ones_that_come_again_and_again_do_not_stop_a_long_one():
    bench = Bench(slots=4, pass_tokens=16)
    long = [bench.ask([n] * LONG) for n in range(2)]
    moved = [0, 0]
    for _ in range(200):
        if bench.scheduler.waiting < 2:
            bench.ask([1] * 12, tokens=1)
        before = [job.sessions[0].done for job in long]
        bench.run(1)
        for n, job in enumerate(long):
            moved[n] = 0 if job.sessions[0].done > before[n] else moved[n] + 1
            assert moved[n] < 4 * 4
    assert min(job.sessions[0].done for job in long) > 300


@pytest.mark.parametrize("generating", [0, 1, 2, 3])
@driven
def test_on_a_device_of_four_tokens(generating):
    """Half of a pass is kept for drafts, where one generates; more prompts than a pass has room."""
    bench = Bench(slots=10, pass_tokens=4, drafts=Wrong(NgramDrafter))
    for _ in range(generating):
        bench.ask([1], tokens=10**6)
    bench.run(2)
    long = [bench.ask([2] * LONG) for _ in range(9 - generating)]
    bench.run(5)
    room = 4 - generating if generating != 1 else 2
    assert first_token(bench, bench.ask([1] * 16, tokens=1)) <= 4 * math.ceil(16 / (3 * room))
    before = [job.sessions[0].done for job in long]
    bench.run(4 * len(long))
    assert all(job.sessions[0].done > n for job, n in zip(long, before, strict=True))
