"""How the room of passes is shared among prompts: bounds that hold whatever comes."""

import math

from hypothesis import given
from hypothesis import strategies as st

from lightmamba.serve.filling import TURNS, Unread, shared

unread = st.builds(
    lambda rest, span, waited: Unread(rest, min(rest, span), waited),
    st.integers(1, 40_000), st.integers(1, 256), st.integers(0, 50),
)  # fmt: skip
rooms = st.one_of(st.integers(1, 8), st.sampled_from([128, 129, 255, 256]))


def turns(rests: list[int], room: list[int], first: int = 0) -> list[list[int]]:
    """Tokens of each prompt in each turn, until all are read or the rooms are used up."""
    left, since, found = list(rests), [first] * len(rests), []
    for turn, tokens in enumerate(room, first):
        open_ = [n for n, rest in enumerate(left) if rest]
        if not open_:
            break
        got = shared([Unread(left[n], left[n], turn - since[n]) for n in open_], tokens, turn)
        each = [0] * len(rests)
        for n, count in zip(open_, got, strict=True):
            each[n] = count
            left[n] -= count
            since[n] = turn if count else since[n]
        found.append(each)
    return found


@given(st.lists(unread, max_size=20), st.integers(0, 300), st.integers(0, 9))
def test_all_room_is_used_and_nobody_gets_more_than_it_can_take(prompts, room, turn):
    given_ = shared(prompts, room, turn)
    assert all(0 <= n <= one.span for n, one in zip(given_, prompts, strict=True))
    assert sum(given_) == min(room, sum(one.span for one in prompts))


@given(
    short=st.integers(1, 64), longer=st.lists(st.integers(65, 40_000), max_size=12),
    place=st.integers(0, 12), room=rooms, first=st.integers(0, 3),
)  # fmt: skip
def test_the_shortest_rest_is_read_within_its_bound(short, longer, place, room, first):
    place = min(place, len(longer))
    bound = 4 * math.ceil(short / (3 * room))
    found = turns([*longer[:place], short, *longer[place:]], [room] * bound, first)
    assert sum(each[place] for each in found) == short


@given(
    rests=st.lists(st.integers(1, 40_000), min_size=1, max_size=12),
    room=st.lists(rooms, min_size=4 * 12, max_size=80),
    first=st.integers(0, 3),
)
def test_every_prompt_gets_on(rests, room, first):
    """Whatever the rooms of the passes, and with fewer tokens than prompts."""
    bound, left = TURNS * len(rests), list(rests)
    found = turns(rests, room, first)
    idle = [0] * len(rests)
    for each in found:
        for n, count in enumerate(each):
            left[n] -= count
            idle[n] = 0 if count or not left[n] else idle[n] + 1
            assert idle[n] < bound


def test_worked_values():
    long, short = Unread(8000, 256, 3), Unread(16, 16, 0)
    assert shared([long, short], 256, 0) == [240, 16]
    assert shared([long, long, short], 128, 0) == [112, 0, 16]
    assert shared([long, Unread(100, 100, 0)], 128, 0) == [32, 96]
    assert [shared([long, short], 4, turn) for turn in range(4)] == [[1, 3]] * 4
    assert [shared([long, short], 2, turn) for turn in range(4)] == [[0, 2], [0, 2], [1, 1], [1, 1]]
    assert [shared([long, short], 1, turn) for turn in range(4)] == [[0, 1]] * 3 + [[1, 0]]
    assert shared([], 5, 0) == []
