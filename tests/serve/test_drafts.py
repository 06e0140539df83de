"""Speculation in the server: the same answers, in fewer passes where drafts are accepted.

The bundled model does not repeat what it read, so n-grams are seldom right with it.
"""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lightmamba.serve.drafts import Drafts
from lightmamba.text import ModelDrafter
from lightmamba.text.pace import MOST
from tests.serve.running import Eager, request, running, served


@pytest.mark.parametrize("drafter", ["ngram", "itself"])
@pytest.mark.parametrize("clients", [1, 16])
@pytest.mark.parametrize("eager", [True, False])
def test_answers_are_the_same(model, wanted, drafter, clients, eager):
    with running(served(model, slots=8, drafter=drafter)) as server:
        made = server.served.drafter
        assert made is not None
        if eager:
            server.scheduler.batch.drafts = Eager(made)
        with ThreadPoolExecutor(clients) as pool:
            found = list(pool.map(lambda n: server.ask(**request(n)).text, range(16)))
        drafts, right = server.total("drafted_tokens"), server.total("accepted_tokens")
        tokens, passes = server.total("generated_tokens"), server.total("passes")
    assert found == [wanted(n) for n in range(16)]
    assert tokens == sum(request(n)["max_tokens"] for n in range(16))
    assert 0 <= right <= drafts
    assert drafts > 0 or not eager
    if drafter == "itself" and eager:
        assert right > 0.95 * drafts, "all but what lies past the end of a text"
        assert clients > 1 or passes < tokens / 4


def session(right: float, left: int = 100) -> Any:
    """As much of a session as the choice looks at."""
    drafter = SimpleNamespace(
        draft=lambda ids, most, trial: list(range(most)), unread=lambda ids: 1, piece=8
    )
    text = SimpleNamespace(left=left, trial=None)
    return SimpleNamespace(
        right=right, text=text, ids=[1], drafter=drafter, draft=[], speculates=True
    )


def counts(sessions: list[Any], *, alone: float, each: float) -> list[int]:
    """Drafted tokens of each, where a pass of n tokens takes ``alone + each * n``."""
    drafts = Drafts(lambda: sessions[0].drafter)
    for n in [1, 2, 4, 8, 16] * 40:
        drafts.note(n, alone + each * n)
    drafts.make(sessions, 256)
    return [len(one.draft) for one in sessions]


def test_one_stream_drafts_much_and_many_little():
    assert counts([session(0.95)], alone=1, each=0.05) == [MOST]
    # 0.5**4 of 1.2 s: less than 1.875 of 0.05
    assert counts([session(0.5)], alone=1, each=0.05) == [3]
    assert counts([session(0.02)], alone=1, each=0.05) == [0]
    assert counts([session(0.5)] * 64, alone=1, each=0.2) == [0] * 64
    few = [session(0.9), session(0.1), session(0.9, left=3)]
    assert counts(few, alone=1, each=0.1) == [MOST, 0, 2]


@pytest.mark.parametrize(("most", "room", "drafted"), [(MOST, 3, 3), (5, 20, 10)])
def test_a_pass_has_room_for_so_many(most, room, drafted):
    """Sequences share the room of a pass, and each has at most ``most`` drafts."""
    one, other = session(0.99), session(0.99)
    drafts = Drafts(lambda: one.drafter, most)
    drafts.note(1, 1.0)
    drafts.make([one, other], room)
    assert len(one.draft) + len(other.draft) == drafted


def test_one_slow_pass_is_forgotten():
    one = session(0.9)
    drafts = Drafts(lambda: one.drafter)
    made = []
    for n in range(400):
        drafts.make([one], 256)
        made.append(len(one.draft))
        drafts.checked(one, len(one.draft))
        tokens = 1 + len(one.draft)
        drafts.note(tokens, 20.0 if n == 3 else 1 + 0.05 * tokens)
    assert sum(made[300:]) / 100 > 0.9 * MOST


def test_a_share_that_is_not_measured_comes_back():
    poor = session(0.0)
    drafts = Drafts(lambda: poor.drafter)
    drafts.note(1, 1.0)
    passes = 0
    while not poor.draft:
        drafts.make([poor], 256)
        passes += 1
    assert 10 < passes < 60
    drafts.checked(poor, 0)
    before = poor.right
    assert before < 0.3


class Reading:
    """A model that writes down how many tokens it is fed at once."""

    valid_vocab, logit_exponent = 10, 0

    def __init__(self) -> None:
        self.fed: list[int] = []

    def empty_state(self, batch: int) -> Any:
        return SimpleNamespace(fork=lambda: None)

    def forward(self, ids: Any, state: Any) -> Any:
        self.fed.append(ids.size)
        return np.zeros((1, 1, 10), np.int32), SimpleNamespace(fork=lambda: state)


def test_a_long_prompt_is_read_in_pieces_while_another_text_is_drafted():
    small = Reading()
    drafts = Drafts(lambda: ModelDrafter(small, small), 2)
    drafts.note(1, 1.0)
    short, long = session(0.9), session(0.9)
    short.ids, long.ids = [1, 2, 3], [1] * 1000
    for one in (short, long):
        one.drafter, one.text.trial = None, lambda: lambda logits, exponent: 7
    for _ in range(1000 // ModelDrafter.piece):
        small.fed.clear()
        drafts.make([long, short], 256)
        assert sum(small.fed) <= ModelDrafter.piece + MOST + 1
        assert (short.draft, long.draft) == ([7, 7], [])
        short.ids += [7, 8]
        long.ids.append(5)
    while not long.draft:
        drafts.make([long, short], 256)
    assert long.drafter.unread(long.ids) == 0


@pytest.mark.parametrize("kind", ["ngram", "itself"])
def test_what_was_read_in_pieces_is_drafted_the_same(model, kind):
    made = served(model, drafter=kind).drafter
    assert made is not None
    ids = [5, 6, 7, 8, 9, 5, 6, 7] * 6

    def trial() -> Any:
        return lambda logits, exponent: int(logits.argmax())

    whole, pieces = made(), made()
    draft = list(whole.draft(ids[:9], 4, trial))
    assert list(pieces.draft(ids[:9], 4, trial)) == draft
    ids[9:11] = draft[:2]  # accepted
    while pieces.unread(ids) > 1:
        before = pieces.unread(ids)
        pieces.read(ids, 7)
        assert before - 7 - 4 <= pieces.unread(ids) < before
    assert list(pieces.draft(ids, 5, trial)) == list(whole.draft(ids, 5, trial))
