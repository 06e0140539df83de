"""How passes are filled, on a backend that only writes down what it is asked to do."""

import pytest

from lightmamba.serve.errors import ApiError
from lightmamba.text import NgramDrafter
from tests.serve.counting import VOCAB, Bench, Wrong, driven


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
        [(1, True), (2, False), (5, True)],  # most of what is left goes to the shortest rest
        [(1, True), (1, True), (6, False)],
        [(1, True), (1, True), (3, True)],
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
@driven
def test_drafts_leave_room_for_a_prompt(tokens):
    bench = Bench(slots=tokens, pass_tokens=tokens, drafts=Wrong(NgramDrafter))
    bench.ask([1], tokens=99)
    bench.run(2)
    assert [slot[0] for slot in bench.backend.passes[-1]] == [tokens]
    bench.ask([1] * tokens, tokens=9)
    bench.run(2)
    taken = [[slot[0] for slot in each] for each in bench.backend.passes[-2:]]
    assert taken == [[tokens - tokens // 2, tokens // 2]] * 2


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
    assert sorted(bench.scheduler.admission.free) == [0, 1]
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
def test_after_its_time_a_job_ends():
    bench = Bench()
    slow, other = bench.ask([1], tokens=9, seconds=-1), bench.ask([1])
    bench.run()
    assert slow.sessions[0].tokens == []
    assert other.sessions[0].tokens == [2, 3, 4]
    assert bench.metrics.total("timed_out_requests") == 1


@pytest.mark.parametrize(("slots", "before"), [(3, 0), (1, 1)])
@driven
def test_a_full_queue_and_a_stopping_server_refuse(slots, before):
    """Slots that are free are no queue, though nobody is given one before the next pass."""
    bench = Bench(slots=slots, queue=2)
    for _ in range(slots):
        bench.ask([1])
    bench.run(before)
    bench.ask([1])
    bench.ask([1])
    with pytest.raises(ApiError, match="try again in") as caught:
        bench.ask([1])
    assert caught.value.status == 429
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
    assert bench.metrics.total("refused_requests") == 1
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
    kept = bench.scheduler.batch.cache._entries.values()
    assert sorted(entry.length for entry in kept) == [256, 512, 599]
    before = len(bench.backend.passes)
    job = bench.ask([1] * 600)
    bench.run()
    assert [slots[0][0] for slots in bench.backend.passes[before:]] == [1, 1, 1]
    assert job.cached_tokens == 599
    assert bench.backend.state[job.sessions[0].slot or 0][:600] == [1] * 600
