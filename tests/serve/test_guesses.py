"""Speculation in the server: the same answers, in fewer passes where guesses are right.

The bundled model does not repeat what it read, so n-grams are seldom right with it.
"""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lightmamba.compiler import build
from lightmamba.errors import InputError
from lightmamba.runtime import ModelDrafter
from lightmamba.runtime.pace import MOST
from lightmamba.serve import open_served
from lightmamba.serve.guesses import Guesses
from tests.serve.running import expected, running, served
from tests.support.builders import random_model, shipped

LIST = "one and two and three; one and two and three; one and two and three; one and"
OPEN = "It was a truth, and she had not the least idea of it when he"


def request(n: int) -> dict[str, Any]:
    """Texts that repeat themselves and others, greedy and sampled, of several lengths."""
    return {
        "prompt": (LIST, OPEN)[n % 2], "max_tokens": 20 + n % 30, "seed": n,
        "temperature": (0, 0.8, 1.2)[n % 3],
    }  # fmt: skip


class Eager(Guesses):
    """Guesses as much as there is room for, whether it pays or not."""

    def _counts(self, sessions, room):
        return [min(MOST, one.text.left - 1) for one in sessions]


@pytest.mark.parametrize("drafter", ["ngram", "itself"])
@pytest.mark.parametrize("clients", [1, 16])
def test_answers_are_the_same(model, drafter, clients):
    def ask(n: int) -> str:
        found = client.completions.create(model="demo", **request(n))
        return str(found.choices[0].text)

    with running(served(model, slots=8, drafter=drafter)) as server:
        client, made = server.client(timeout=120), server.served.drafter
        assert made is not None
        server.scheduler.batch.guesses = Eager(made)
        with ThreadPoolExecutor(clients) as pool:
            found = list(pool.map(ask, range(16)))
        guesses, right = server.total("guesses"), server.total("right_guesses")
        tokens, passes = server.total("generated_tokens"), server.total("passes")
    for n, text in enumerate(found):
        asked = request(n)
        wanted = expected(model, asked.pop("prompt"), asked.pop("max_tokens"), **asked)
        assert text == wanted.text, n
    assert tokens == sum(request(n)["max_tokens"] for n in range(16))
    assert 0 <= right <= guesses > 0
    if drafter == "itself":
        assert right > 0.95 * guesses, "all but what lies past the end of a text"
        assert clients > 1 or passes < tokens / 4


def test_guesses_that_pay_give_the_same_answers(model):
    with running(served(model, drafter="ngram")) as server:
        client = server.client(timeout=120)
        for n in range(6):
            asked = request(n)
            text = client.completions.create(model="demo", **asked).choices[0].text
            wanted = expected(model, asked.pop("prompt"), asked.pop("max_tokens"), **asked)
            assert text == wanted.text, n


@pytest.mark.parametrize("drafter", ["ngram", "itself"])
def test_a_chat_goes_on_from_its_kept_answer(model, drafter):
    messages = [{"role": "user", "content": LIST * 3}]
    with running(served(model, drafter=drafter)) as server:
        client, made = server.client(timeout=120), server.served.drafter
        assert made is not None
        server.scheduler.batch.guesses = Eager(made)

        def ask() -> str:
            found = client.chat.completions.create(
                model="demo", messages=messages, max_tokens=37, temperature=0, seed=1
            )
            return str(found.choices[0].message.content)

        first = ask()
        messages += [{"role": "assistant", "content": first}, {"role": "user", "content": "go on"}]
        hits = server.total("prefix_hits")
        second = ask()
        assert server.total("prefix_hits") == hits + 1
    with running(served(model)) as plain:
        client = plain.client(timeout=120)
        assert ask() == second


def session(right: float, left: int = 100) -> Any:
    """As much of a session as the choice looks at."""
    drafter = SimpleNamespace(
        draft=lambda ids, most, trial: list(range(most)), unread=lambda ids: 1, piece=8
    )
    text = SimpleNamespace(left=left, trial=None)
    return SimpleNamespace(right=right, text=text, ids=[1], drafter=drafter, guess=[], drafts=True)


def counts(sessions: list[Any], *, alone: float, each: float) -> list[int]:
    """Guesses of each, where a pass of n tokens takes ``alone + each * n``."""
    guesses = Guesses(lambda: sessions[0].drafter)
    for n in [1, 2, 4, 8, 16] * 40:
        guesses.note(n, alone + each * n)
    guesses.make(sessions, 256)
    return [len(one.guess) for one in sessions]


def test_one_stream_guesses_much_and_many_little():
    assert counts([session(0.95)], alone=1, each=0.05) == [MOST]
    assert counts([session(0.5)], alone=1, each=0.05) == [
        3
    ]  # 0.5**4 of 1.2 s: less than 1.875 of 0.05
    assert counts([session(0.02)], alone=1, each=0.05) == [0]
    assert counts([session(0.5)] * 64, alone=1, each=0.2) == [0] * 64
    few = [session(0.9), session(0.1), session(0.9, left=3)]
    assert counts(few, alone=1, each=0.1) == [MOST, 0, 2]


def test_a_pass_has_room_for_so_many():
    one, other = session(0.9), session(0.95)
    guesses = Guesses(lambda: one.drafter)
    guesses.note(1, 1.0)
    guesses.make([one, other], 3)
    assert len(one.guess) + len(other.guess) == 3


def test_hardware_leaves_so_many_undecided():
    one = session(0.99)
    guesses = Guesses(lambda: one.drafter, 5)
    guesses.note(1, 1.0)
    guesses.make([one], 7)
    assert len(one.guess) == 5


def test_one_slow_pass_is_forgotten():
    one = session(0.9)
    guesses = Guesses(lambda: one.drafter)
    made = []
    for n in range(400):
        guesses.make([one], 256)
        made.append(len(one.guess))
        guesses.checked(one, len(one.guess))
        tokens = 1 + len(one.guess)
        guesses.note(tokens, 20.0 if n == 3 else 1 + 0.05 * tokens)
    assert sum(made[300:]) / 100 > 0.9 * MOST


def test_a_share_that_is_not_measured_comes_back():
    poor = session(0.0)
    guesses = Guesses(lambda: poor.drafter)
    guesses.note(1, 1.0)
    passes = 0
    while not poor.guess:
        guesses.make([poor], 256)
        passes += 1
    assert 10 < passes < 60
    guesses.checked(poor, 0)
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


def test_a_long_prompt_is_read_in_pieces_while_another_text_is_guessed():
    small = Reading()
    guesses = Guesses(lambda: ModelDrafter(small, small), 2)
    guesses.note(1, 1.0)
    short, long = session(0.9), session(0.9)
    short.ids, long.ids = [1, 2, 3], [1] * 1000
    for one in (short, long):
        one.drafter, one.text.trial = None, lambda: lambda logits, exponent: 7
    for _ in range(1000 // ModelDrafter.piece):
        small.fed.clear()
        guesses.make([long, short], 256)
        assert sum(small.fed) <= ModelDrafter.piece + MOST + 1
        assert (short.guess, long.guess) == ([7, 7], [])
        short.ids += [7, 8]
        long.ids.append(5)
    while not long.guess:
        guesses.make([long, short], 256)
    assert long.drafter.unread(long.ids) == 0


@pytest.mark.parametrize("kind", ["ngram", "itself"])
def test_what_was_read_in_pieces_is_guessed_the_same(model, kind):
    made = served(model, drafter=kind).drafter
    assert made is not None
    ids = [5, 6, 7, 8, 9, 5, 6, 7] * 6

    def trial() -> Any:
        return lambda logits, exponent: int(logits.argmax())

    whole, pieces = made(), made()
    guess = list(whole.draft(ids[:9], 4, trial))
    assert list(pieces.draft(ids[:9], 4, trial)) == guess
    ids[9:11] = guess[:2]  # were right
    while pieces.unread(ids) > 1:
        before = pieces.unread(ids)
        pieces.read(ids, 7)
        assert before - 7 - 4 <= pieces.unread(ids) < before
    assert list(pieces.draft(ids, 5, trial)) == list(whole.draft(ids, 5, trial))


def test_a_device_of_single_tokens_is_refused(tmp_path):
    made = build(random_model(), shipped(), tmp_path / "build")
    with pytest.raises(InputError, match="sim takes one token in a pass"):
        open_served(made.path, device="sim", speculate="ngram")
