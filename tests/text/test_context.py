"""A text that goes on from an earlier one reads only what is new, and is the same text."""

from collections.abc import Generator
from contextlib import suppress

import pytest

from lightmamba.engine import Engine
from lightmamba.numerics.sampling_options import SamplingOptions
from lightmamba.text import Context, NgramDrafter, generate
from tests.engine.models import case

GREEDY = SamplingOptions(temperature=0)
FIRST = [1, 2, 3, 1, 2, 3, 1, 2]


class Reading(Engine):
    """An engine that counts the tokens which it is fed."""

    fed = 0

    def run(self, work, state, observe=None):
        self.fed += work.tokens
        return super().run(work, state, observe)


def ids_of(steps):
    return [step.token_id for step in steps]


@pytest.mark.parametrize("drafted", [False, True])
def test_a_chat_goes_on_where_it_was(drafted):
    engine, context = Reading(case("w4a4")), Context()

    def answer(prompt, context):
        drafter = NgramDrafter(2, 1) if drafted else None
        return ids_of(generate(engine, prompt, max_tokens=12, sampling=GREEDY, drafter=drafter,
                               context=context))  # fmt: skip

    asked = FIRST
    for more in ([5, 6], [7], [8, 9, 10]):
        before, known = engine.fed, len(context.ids)
        said = answer(asked, context)
        read = engine.fed - before
        assert said == answer(asked, None)
        if known:
            assert read < len(asked) + len(said) - known + (12 if drafted else 0)
            assert context.ids[:known] == asked[:known]
        asked = [*asked, *said, *more]
    assert len(context.ids) > 30


def test_a_long_prompt_is_read_in_pieces():
    """Progress is reported, and what was read before an interruption is not read again."""
    engine, context, seen = Reading(case("w4a4")), Context(), []
    prompt = [1 + n % 50 for n in range(600)]

    def watched(done, total):
        seen.append((done, total))
        if len(seen) == 2:
            raise KeyboardInterrupt

    context.progress = watched
    for _ in range(2):
        with suppress(KeyboardInterrupt):
            found = ids_of(generate(engine, prompt, max_tokens=3, sampling=GREEDY, context=context))
    assert seen == [(256, 600), (512, 600)]
    assert engine.fed == 600 + 2
    assert found == ids_of(generate(engine, prompt, max_tokens=3, sampling=GREEDY))


def test_another_prompt_begins_anew():
    engine, context = Engine(case("w4a4")), Context()
    list(generate(engine, FIRST, max_tokens=4, sampling=GREEDY, context=context))
    for prompt in ([1, 2, 4], FIRST[:2], [9]):
        assert context.known(prompt) == 0
        assert context.known([*context.ids, 1]) == len(context.ids) > 0
        found = generate(engine, prompt, max_tokens=6, sampling=GREEDY, context=context)
        wanted = generate(engine, prompt, max_tokens=6, sampling=GREEDY)
        assert ids_of(found) == ids_of(wanted)


def test_a_text_that_stops_in_the_middle_or_fails(monkeypatch):
    engine, context = Engine(case("w4a4")), Context()
    steps = generate(engine, FIRST, max_tokens=9, sampling=GREEDY, context=context)
    begun = [next(steps).token_id, next(steps).token_id]
    assert isinstance(steps, Generator)
    steps.close()
    asked = [*FIRST, *begun, 3]
    assert context.ids == asked[: len(context.ids)]
    wanted = ids_of(generate(engine, asked, max_tokens=5, sampling=GREEDY))
    again = generate(engine, asked, max_tokens=5, sampling=GREEDY, context=context)
    with monkeypatch.context() as broken:
        broken.setattr(engine, "run", None)
        with pytest.raises(TypeError):
            list(again)
    found = generate(engine, asked, max_tokens=5, sampling=GREEDY, context=context)
    assert ids_of(found) == wanted
