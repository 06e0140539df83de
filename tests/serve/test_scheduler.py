"""How passes are filled, on a backend that only writes down what it is asked to do."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmamba.errors import DeviceError
from lightmamba.numerics.sampling import SamplingOptions
from lightmamba.passes import Pass
from lightmamba.runtime import Continuation, NgramDrafter
from lightmamba.serve.errors import ApiError
from lightmamba.serve.guesses import Guesses
from lightmamba.serve.jobs import Job, Session
from lightmamba.serve.metrics import Metrics
from lightmamba.serve.prefix import PrefixCache
from lightmamba.serve.scheduler import Scheduler

VOCAB = 10


class Counting:
    """The token after n is n + 1; a slot's state is the tokens that it was fed."""

    device = "counting"
    state_bytes = 1
    vocab_size = valid_vocab = VOCAB
    logit_exponent = guesses = 0

    def __init__(self, slots: int, pass_tokens: int) -> None:
        self.slots, self.pass_tokens = slots, pass_tokens
        self.state: list[list[int]] = [[] for _ in range(slots)]
        self.passes: list[list[tuple[int, int]]] = []  # tokens and logits of each slot
        self.recovered = 0
        self.failing = False

    @property
    def ran(self) -> int:
        return len(self.passes)

    def seconds(self) -> float:
        return 0.0

    def begin(self, slot: int) -> None:
        self.state[slot] = []

    def run(self, work: Pass) -> NDArray[np.int32]:
        if self.failing:
            raise DeviceError("no answer")
        self.passes.append([(len(slot.tokens), slot.wanted) for slot in work.slots])
        rows = []
        for slot in work.slots:
            self.state[slot.sequence] += slot.tokens.tolist()
            if slot.wanted:
                last = slot.tokens[len(slot.tokens) - slot.wanted :]
                rows.append(np.eye(VOCAB, dtype=np.int32)[(last + 1) % VOCAB])
        return np.concatenate([np.empty((0, VOCAB), np.int32), *rows])

    def save(self, slot: int, accepted=()) -> Any:
        return tuple(self.state[slot])

    def restore(self, slot: int, saved: Any) -> None:
        self.state[slot] = list(saved)

    def size_of(self, saved: Any) -> int:
        return self.state_bytes

    def saturations(self) -> dict[str, int]:
        return {"residual": 3}

    def cycles(self) -> dict[str, int]:
        return {}

    def recover(self) -> None:
        self.recovered += 1


class Bench:
    """A scheduler without its thread, driven pass by pass."""

    def __init__(
        self, slots: int = 4, pass_tokens: int = 8, cache: int = 0, queue: int = 99,
        guesses: Guesses | None = None,
    ):  # fmt: skip
        self.backend = Counting(slots, pass_tokens)
        self.metrics = Metrics("m", "counting")
        self.scheduler = Scheduler(
            self.backend, PrefixCache(cache, 1, "m"), self.metrics, queue=queue, guesses=guesses
        )
        self.scheduler._thread.is_alive = lambda: True  # type: ignore[method-assign]

    def ask(self, prompt: Sequence[int], tokens: int = 3, n: int = 1, seconds: float = 9) -> Job:
        sessions: list[Session] = []
        for choice in range(n):
            text = Continuation(
                self.backend, prompt, max_tokens=tokens, sampling=SamplingOptions(temperature=0)
            )
            sessions.append(Session(choice, text, leader=sessions[0] if choice else None))
        job = Job(sessions, seconds, per_prompt=n)
        self.scheduler.submit(job)
        return job

    def run(self, passes: int = 99) -> None:
        """Some passes, or until nothing is left."""
        s = self.scheduler
        for _ in range(passes):
            if not (s._waiting or s._running):
                return
            s._drop()
            s._admit()
            try:
                s._pass()
            except Exception as error:
                s._failed(error)
            s._flush()


def driven(test: Callable[[], None]) -> Callable[[], None]:
    """Run a test on an event loop, which jobs belong to."""

    def run() -> None:
        async def inside() -> None:
            test()

        asyncio.run(inside())

    return run


@driven
def test_tokens_come_before_prompts_and_prompts_fill_the_rest():
    bench = Bench(slots=3, pass_tokens=8)
    bench.ask([1, 2], tokens=9)
    bench.run(2)
    bench.ask([1] * 11, tokens=9)
    bench.ask([2] * 5, tokens=9)
    bench.run(3)
    assert bench.backend.passes == [
        [(2, True)],
        [(1, True)],
        [(1, True), (7, False)],  # what is left goes to the oldest prompt
        [(1, True), (4, True), (3, False)],
        [(1, True), (1, True), (2, True)],
    ]


@driven
def test_a_prompt_goes_on_however_many_are_generating():
    bench = Bench(slots=12, pass_tokens=8)
    for _ in range(11):
        bench.ask([1], tokens=50)
    bench.run(3)
    job = bench.ask([1] * 6)
    bench.run(3)
    assert job.sessions[0].tokens
    assert [len(slots) for slots in bench.backend.passes[-3:]] == [12, 12, 12]


@driven
def test_a_prompt_fills_what_is_left_of_the_last_pass():
    """Where a pass holds few tokens: not one more pass than there must be."""
    bench = Bench(slots=8, pass_tokens=4)
    for _ in range(3):
        bench.ask([1], tokens=50)
    bench.run(2)
    bench.ask([1] * 3, tokens=50)
    bench.run(4)
    assert [sum(count for count, _ in slots) for slots in bench.backend.passes[-4:]] == [4] * 4
    bench.ask([1] * 5, tokens=50)  # four are generating: what is next is a pass more
    bench.run(3)
    assert [slots[-1][0] for slots in bench.backend.passes[-3:]] == [4, 1, 1]


@pytest.mark.parametrize("tokens", [2, 4, 8])
def test_guesses_leave_room_for_a_prompt(tokens):
    class Eager(Guesses):
        """All that there is room for, and none right."""

        def make(self, sessions, room):
            for one in sessions:
                one.guess = [0] * max(0, room)

    @driven
    def inside() -> None:
        bench = Bench(slots=tokens, pass_tokens=tokens, guesses=Eager(NgramDrafter))
        bench.ask([1], tokens=99)
        bench.run(2)
        assert [slot[0] for slot in bench.backend.passes[-1]] == [tokens]
        bench.ask([1] * tokens, tokens=9)
        bench.run(2)
        half = tokens // 2
        assert [[slot[0] for slot in each] for each in bench.backend.passes[-2:]] == [
            [tokens - half, half]
        ] * 2

    inside()


@driven
def test_slots_are_given_in_order_and_given_back():
    bench = Bench(slots=2)
    jobs = [bench.ask([n], tokens=2 + n) for n in range(5)]
    bench.run(1)
    assert [job.sessions[0].slot is not None for job in jobs] == [True, True, False, False, False]
    assert (bench.scheduler.running, bench.scheduler.waiting) == (2, 3)
    bench.run()
    wanted = [[(n + 1 + k) % VOCAB for k in range(2 + n)] for n in range(5)]
    assert [job.sessions[0].tokens for job in jobs] == wanted
    assert sorted(bench.scheduler._free) == [0, 1]
    assert bench.metrics.total("generated_tokens") == sum(map(len, wanted))
    assert bench.metrics.total("saturations") == 3


@driven
def test_choices_read_their_prompt_once():
    bench = Bench(slots=2)
    job = bench.ask([3, 4, 5], n=5)
    bench.run()
    assert [session.tokens for session in job.sessions] == [[6, 7, 8]] * 5
    assert bench.metrics.total("computed_tokens") == 2 + 5 * 3
    assert job.prompt_tokens == 3
    assert job.generated_tokens == 15


@driven
def test_a_reset_slot_knows_nothing_of_the_one_before():
    bench = Bench(slots=1)
    bench.ask([1, 2, 3])
    bench.ask([7])
    bench.run()
    assert bench.backend.state[0] == [7, 8, 9]


@driven
def test_what_was_given_up_leaves_at_once():
    bench = Bench(slots=1)
    first, second, third = (bench.ask([n], tokens=50) for n in range(3))
    bench.run(2)
    bench.scheduler.cancel(first)
    bench.scheduler.cancel(second)  # it waits
    bench.scheduler.cancel(second)
    bench.run(1)
    assert third.sessions[0].slot == 0
    assert (bench.scheduler.running, bench.scheduler.waiting) == (1, 0)
    assert bench.metrics.total("cancelled_requests") == 2
    bench.run()
    assert len(third.sessions[0].tokens) == 50


@driven
def test_a_pass_that_fails_ends_what_ran_and_no_more():
    bench = Bench(slots=1)
    first, second = bench.ask([1]), bench.ask([2])
    bench.backend.failing = True
    bench.run(1)
    bench.backend.failing = False
    bench.run()
    assert first.sessions[0].tokens == []
    assert second.sessions[0].tokens == [3, 4, 5]
    assert bench.backend.recovered == 1
    assert (bench.scheduler.running, len(bench.scheduler._free)) == (0, 1)


@driven
def test_after_its_time_a_job_ends():
    bench = Bench()
    slow, other = bench.ask([1], tokens=9, seconds=-1), bench.ask([1])
    bench.run()
    assert slow.sessions[0].tokens == []
    assert other.sessions[0].tokens == [2, 3, 4]
    assert bench.metrics.total("timed_out_requests") == 1


@driven
def test_slots_that_are_free_are_no_queue():
    """Before the pass that runs has ended, nobody has been given one."""
    bench = Bench(slots=3, queue=2)
    for _ in range(5):
        bench.ask([1])
    with pytest.raises(ApiError, match="try again in"):
        bench.ask([1])


@driven
def test_a_full_queue_and_a_stopping_server_refuse():
    bench = Bench(slots=1, queue=2)
    bench.ask([1])
    bench.run(1)
    bench.ask([1])
    bench.ask([1])
    with pytest.raises(ApiError, match="try again in") as caught:
        bench.ask([1])
    assert caught.value.status == 429
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
    bench.run()
    bench.scheduler.drain(0)
    with pytest.raises(ApiError, match="is stopping") as caught:
        bench.ask([1])
    assert caught.value.status == 503


@driven
def test_states_are_kept_at_blocks_and_before_the_last_token():
    bench = Bench(pass_tokens=1000, cache=99)
    bench.ask([1] * 600)
    bench.run()
    assert [slots[0][0] for slots in bench.backend.passes[:4]] == [256, 256, 87, 1]
    assert sorted(bench.scheduler.cache._lengths) == [256, 512, 599]
    before = len(bench.backend.passes)
    job = bench.ask([1] * 600)
    bench.run()
    assert [slots[0][0] for slots in bench.backend.passes[before:]] == [1, 1, 1]
    assert job.cached_tokens == 599
    assert bench.backend.state[job.sessions[0].slot or 0][:600] == [1] * 600
