"""Memory of sequences: it is reserved before they run, never exceeded, and all given back."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.model.data import hybrid_file
from lightmamba.model.qmodel import QuantizedModel, load
from lightmamba.serve import Served, open_served
from lightmamba.serve.backend import LARGE, EngineBackend
from lightmamba.serve.drafts import Drafts
from lightmamba.serve.errors import ApiError
from lightmamba.text import ModelDrafter, NgramDrafter
from lightmamba.text.model import Model
from lightmamba.text.pace import MOST
from tests.serve.counting import Bench, driven
from tests.serve.running import expected, running

MIB = 1 << 20


@pytest.fixture(scope="module")
def hybrid() -> QuantizedModel:
    return load(hybrid_file())


def taken(bench: Bench) -> int:
    """Bytes that the slots and the copies of the bench really hold."""
    rooms = sum(bench.backend.rooms.values()) * bench.backend.token_bytes
    sessions = [s for job in bench.jobs for s in job.sessions]
    return rooms + sum(
        bench.backend.saved_bytes(len(s.prompt) - 1) for s in sessions if s.prefix is not None
    )


@given(
    asked=st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=9
    ),
    slots=st.integers(1, 4), spare=st.integers(40, 90), cancelled=st.sets(st.integers(0, 8)),
)  # fmt: skip
@driven
def test_never_more_than_there_is_and_all_is_given_back(asked, slots, spare, cancelled):
    """Whatever comes in whatever order, with choices that wait for each other: all are answered."""
    bench = Bench(slots=slots, spare=spare, token_bytes=1, cache=50)
    for n, (prompt, tokens, choices) in enumerate(asked):
        job = bench.ask([n % 9] * prompt, tokens=tokens, n=choices)
        bench.run(1)
        assert taken(bench) <= bench.scheduler.admission.used <= spare
        if n in cancelled:
            bench.scheduler.cancel(job)
    for _ in range(2000):
        bench.run(1)
        assert taken(bench) <= bench.scheduler.admission.used <= spare
    assert (bench.scheduler.running, bench.scheduler.waiting) == (0, 0)
    for n, (job, (_, tokens, _)) in enumerate(zip(bench.jobs, asked, strict=True)):
        for session in job.sessions:
            assert n in cancelled or len(session.tokens) == tokens
    assert (bench.scheduler.admission.used, taken(bench)) == (0, 0)


@driven
def test_what_fits_later_waits_and_what_never_fits_is_refused():
    bench = Bench(slots=4, spare=3 * MIB, token_bytes=MIB // 100)
    first = bench.ask([1] * 100, tokens=100)
    bench.run(1)
    second, third = bench.ask([2] * 100, tokens=100), bench.ask([3], tokens=1)
    bench.run(1)
    slots = [job.sessions[0].slot is not None for job in (first, second, third)]
    assert slots == [True, False, False], "nobody is overtaken"
    with pytest.raises(ApiError) as caught:
        bench.ask([1] * 200, tokens=101)
    assert caught.value.status == 400
    assert (
        "a prompt of 200 tokens and 101 to generate need 3.0 MiB, and this server has 3.0 MiB for "
        "sequences; shorten the prompt, ask for fewer max_tokens, or start the server with more "
        "--memory-mb"
    ) in caught.value.message
    bench.run(999)
    assert [len(job.sessions[0].tokens) for job in (first, second, third)] == [100, 100, 1]


def test_a_hybrid_stays_within_its_memory(hybrid):
    """Its keys and values too, which a state that is empty does not show."""
    assert hybrid.tokenizer is not None
    backend: Any = EngineBackend(Engine(hybrid), memory=14 * MIB)
    one = Served("demo", backend, Model(hybrid), "f" * 64)
    state: Any = backend._state
    largest, run = [], backend.run

    def watched(work: Any) -> Any:
        logits = run(work)
        # Pages are asked for in large pages, of which the last one is not all used.
        pages = [-(-each.data.nbytes // LARGE) * LARGE for each in state.pages]
        largest.append(state.data.nbytes + state.record.data.nbytes + sum(pages))
        return logits

    backend.run = watched
    prompts = [[5 + n, 9, 7 + n] * 40 for n in range(12)]
    with running(one, cache_bytes=0, max_tokens=60_000) as server, ThreadPoolExecutor(12) as pool:
        asked = {"max_tokens": 12, "temperature": 0.7, "seed": 3}
        texts = list(pool.map(lambda prompt: server.ask(prompt=prompt, **asked).text, prompts))
        refused = server.http().post(
            "/v1/completions", json={"prompt": "It", "max_tokens": 50_000, "stream": True}
        )
        lines = server.http().get("/metrics").text.splitlines()
        found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        assert float(found["lightmamba_reserved_bytes_limit"]) == backend.spare
    assert texts == [expected(hybrid, prompt, **asked).text for prompt in prompts]
    assert backend.slots > 3
    assert max(largest) <= 14 * MIB
    assert refused.status_code == 400
    assert "50000 to generate need" in refused.json()["error"]["message"]
    assert state.nbytes == backend.slots * backend.state_bytes, "pages of the slots are free again"


@pytest.mark.parametrize("saved", [False, True])
def test_pages_are_reserved_once(hybrid, saved):
    engine = Engine(hybrid)
    backend = EngineBackend(engine, 2, memory=9 * MIB)
    state: Any = backend._state
    if saved:
        backend.begin(1, 200)
        state.position[1] = 150
        backend.restore(0, backend.save(1), 1000)
    else:
        backend.begin(0, 1000)
    pages = state.pages[0].data
    assert pages.nbytes <= backend.needs(1000)
    state.reserve(0, 1000 - int(state.position[0]))
    assert state.pages[0].data is pages
    if saved:
        assert backend.save(0).nbytes == backend.saved_bytes(150)
    backend.end(0)
    assert state.pages[0].data.nbytes == 0


def test_as_many_slots_as_there_is_memory_for(model, hybrid):
    plain, mixed = Engine(model), Engine(hybrid)
    state = plain.empty_state(1).nbytes
    assert EngineBackend(plain).slots == 128
    few = EngineBackend(plain, memory=10 * state)
    assert (few.slots, few.spare) == (9, state)  # and one copy
    assert EngineBackend(plain, memory=10 * state, drafter=2 * state).slots == 2
    half = EngineBackend(mixed, memory=20 * MIB)
    assert 10 * MIB <= half.spare < 10 * MIB + half.state_bytes
    for slots, memory in ((9, 9 * state), (1, state)):
        with pytest.raises(InputError, match=rf"{slots} sequences need \d+ MiB.*--memory-mb \d"):
            EngineBackend(plain, slots, memory=memory)
    need = -(-10 * state // MIB)
    assert EngineBackend(plain, 9, memory=need * MIB).slots == 9


@driven
def test_drafters_are_counted_and_freed(model, hybrid):
    for m in (model, hybrid):
        engine = Engine(m)
        drafts = Drafts(partial(ModelDrafter, engine, engine))
        drafter: Any = drafts._drafter()
        ids = [5, 6, 7] * 30
        while drafter.unread(ids) > drafter.piece:
            drafter.read(ids, drafter.piece)
        drafter.draft(ids, MOST, lambda: lambda logits, exponent: int(logits.argmax()))
        held = sum(state.nbytes for state in drafter._states)
        assert len(drafter._states) == MOST
        assert held <= drafts.bytes_for(len(ids) + MOST) < 2.1 * held
    need = drafts.bytes_for(12)
    bench = Bench(slots=4, spare=2 * need, drafts=Drafts(lambda: ModelDrafter(engine, engine)))
    jobs = [bench.ask([n] * 3, tokens=9) for n in range(3)]
    bench.run(1)
    assert [job.sessions[0].slot is not None for job in jobs] == [True, True, False]
    assert bench.scheduler.admission.used == 2 * need
    jobs[0].sessions[0].drafter = drafter
    bench.scheduler.cancel(jobs[0])
    bench.run(1)
    assert jobs[0].sessions[0].drafter is None
    assert jobs[2].sessions[0].slot is not None


def test_n_grams_are_counted():
    import tracemalloc

    ids, drafter = list(range(1000, 9000)), NgramDrafter()
    tracemalloc.start()
    try:
        drafter.read(ids, len(ids))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.5 * held < drafter.bytes_for(len(ids), MOST) < 2 * held


def test_memory_is_what_the_operator_says(tmp_path):
    assert open_served(hybrid_file(), memory=50 * MIB).backend.spare < 50 * MIB
    with pytest.raises(InputError, match="--memory-mb"):
        open_served(hybrid_file(), slots=100, memory=8 * MIB)


@driven
def test_more_tokens_than_a_device_has_room_for_are_refused_before_they_run():
    bench = Bench(slots=2)
    bench.backend.context, bench.backend.undecided = 20, 2
    bench.ask([1] * 10, tokens=11)  # the last of them is not fed
    with pytest.raises(ApiError, match=r"12 to generate .* is 20; .* max_tokens=11, or .* 21"):
        bench.ask([1] * 10, tokens=12)
    with pytest.raises(ApiError, match=r"context is 20; shorten the prompt, or .* --context 24"):
        bench.ask([1] * 21, tokens=4)


@driven
def test_who_finds_no_segments_waits_for_some():
    """A device's memory is given out by segments of 8 tokens, of which there are six."""
    bench = Bench(slots=4, segments=6)
    first, second, third = (bench.ask([1] * 10, tokens=10), bench.ask([2] * 20, tokens=6),
                            bench.ask([3], tokens=1))  # fmt: skip
    bench.run(1)
    slots = [job.sessions[0].slot is not None for job in (first, second, third)]
    assert slots == [True, False, False]
    with pytest.raises(ApiError, match="take more memory than this server's device has") as caught:
        bench.ask([1] * 20, tokens=30)
    assert caught.value.status == 400
    bench.run(99)
    assert [len(job.sessions[0].tokens) for job in (first, second, third)] == [10, 6, 1]
    assert bench.scheduler.admission.segments == 6
