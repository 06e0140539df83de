"""``lightmamba bench``, and the measurement behind it."""

import itertools

import pytest

import lightmamba
from lightmamba.common.errors import InputError
from lightmamba.common.speed import Spread, measure
from lightmamba.model.data import demo_file
from lightmamba.text.greedy import Greedy, speed_of

FEW = ("--prompt", "8", "--tokens", "4", "--repeats", "3")


class Slow:
    """A sequence whose calls take seconds on a clock of its own: more in each turn."""

    def __init__(self):
        self.now, self.turn, self.fed = 0.0, 0, []

    def clear(self):
        self.turn += 1

    def feed(self, ids):
        self.fed.append(ids)
        self.now += 0.5 * self.turn
        return 7


def test_the_first_turn_does_not_count():
    """Turns 1 and 2 warm up; a prompt is one call, a token too, and one token begins a text."""
    slow, seen = Slow(), []
    found = measure(slow, ids=[1, 2, 3, 4], tokens=3, repeats=3, clock=lambda: slow.now,
                    progress=lambda *step: seen.append(step))  # fmt: skip
    prompts = [4 / (0.5 * turn) for turn in (3, 5, 7)]
    texts = [1 / (0.5 * turn) for turn in (4, 6, 8)]
    assert found.prompt == Spread(prompts[1], prompts[2], prompts[0])
    assert found.generation.median == pytest.approx(texts[1])
    assert slow.fed == [[1, 2, 3, 4], [1], [7], [7], [7]] * 4
    assert seen == [(n, 8) for n in range(1, 9)]


def test_it_is_the_engine_s_greedy_text():
    engine = lightmamba.load().engine
    greedy = Greedy(engine)
    token = greedy.feed([5, 6, 7])
    tokens = [token, *(token := greedy.feed([token]) for _ in range(7))]
    wanted = lightmamba.facade.Model(engine.model, 1).stream([5, 6, 7], max_tokens=8)
    assert lightmamba.load().tokenizer.decode(tokens) == "".join(wanted)


def test_figures_for_programs_and_people(run):
    found = run("bench", "bundled", *FEW, "--json").json
    assert found["model"] == "bundled"
    assert (found["prompt_tokens"], found["generated_tokens"], found["repeats"]) == (8, 4, 3)
    assert (found["device"], found["threads"]) == ("engine", 1)
    for part in ("prompt", "generation"):
        rates = found[part]
        assert 0 < rates["low"] <= rates["median"] <= rates["high"]
    said = run("bench", demo_file(), *FEW)
    assert (said.status, said.err) == (0, "")
    assert "demo-w4a4.safetensors on the engine, 1 thread: tokens per second" in said.out
    for row in ("prompt, 8 tokens", "generation, 4 tokens"):
        assert row in said.out


def test_long_work_says_how_much_is_left(run, monkeypatch):
    ticks = itertools.count(step=20)
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    assert "timing bundled: 12 %, about 140 s left" in run("bench", "bundled", *FEW).err
    assert run("bench", "bundled", *FEW, "--quiet").err == ""


def test_a_device_without_room(monkeypatch):
    engine = lightmamba.load().engine
    monkeypatch.setattr(type(engine), "context_length", 10)
    assert speed_of(engine, prompt=10, tokens=9, repeats=1).prompt.median > 0
    for prompt, tokens in ((11, 1), (1, 10)):
        with pytest.raises(InputError, match=r"memory for 10 tokens of a text, not 11; ask for at"):
            speed_of(engine, prompt=prompt, tokens=tokens)


def test_the_facade_measures_the_same():
    found = lightmamba.load(threads=1).speed(prompt=4, tokens=2, repeats=1)
    assert found.prompt.median == found.prompt.low == found.prompt.high > 0
    assert found.generation.median > 0
