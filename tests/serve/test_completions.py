"""/v1/completions through the official client: the texts of `generate`, whatever else is asked."""

from dataclasses import replace

import openai
import pytest

from tests.serve.running import expected, running, served

PROMPT = "It is a truth universally"
SAMPLED = {"temperature": 1.1, "top_p": 0.95}


@pytest.mark.parametrize("stream", [False, True])
def test_one_seed_one_text(server, model, stream):
    """And counts of tokens, which come last in a stream."""
    texts, prompt = set(), len(server.served.tokenizer.encode(PROMPT))
    for options in ({}, *(SAMPLED | {"seed": seed} for seed in (0, 7, 2**64 - 1))):
        found = server.ask(prompt=PROMPT, max_tokens=24, stream=stream, **options)
        assert found.text == expected(model, PROMPT, 24, **options).text
        assert found.reasons == ["length"]
        assert {chunk.object for chunk in found.chunks} == {"text_completion"}
        assert len({chunk.seed for chunk in found.chunks} | {options.get("seed")} - {None}) == 1
        usage = found.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (prompt, 24)
        assert usage.total_tokens == prompt + 24
        texts.add(found.text)
    assert len(texts) == 4
    if stream:
        assert found.chunks[-1].choices == []
        assert all(chunk.usage is None for chunk in found.chunks[:-1])


def test_usage_comes_only_when_it_is_asked_for(server):
    chunks = server.client().completions.create(model="demo", prompt="A", max_tokens=2, stream=True)
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 30, "min_p": 0.01, "repetition_penalty": 1.3},
        {"frequency_penalty": 1.5, "presence_penalty": 0.5},
    ],
)
def test_the_extensions_and_penalties_count(server, model, options):
    given = {"prompt": PROMPT, "max_tokens": 32, "seed": 3, "temperature": 1.5}
    found = server.ask(**given, extra_body=options).text
    assert found == expected(model, **given, **options).text != expected(model, **given).text


def test_a_seed_that_was_drawn_is_told_and_repeats(server):
    given = {"prompt": PROMPT, "max_tokens": 24, "temperature": 1.5}
    first, second = server.ask(**given), server.ask(**given)
    assert first.chunks[0].seed != second.chunks[0].seed
    again = server.ask(**given, seed=first.chunks[0].seed)
    assert again.text == first.text != second.text


@pytest.mark.parametrize("stream", [False, True])
def test_choices_differ_and_the_first_is_generate(server, model, stream):
    given = {"prompt": PROMPT, "max_tokens": 16, "seed": 5, "temperature": 1.5}
    found = server.ask(**given, n=4, stream=stream)
    assert found.texts == [expected(model, **given, stream=n).text for n in range(4)]
    assert len(set(found.texts)) == 4
    assert found.usage.completion_tokens == 64
    assert found.usage.prompt_tokens == len(server.served.tokenizer.encode(PROMPT))


@pytest.mark.parametrize("stream", [False, True])
def test_several_prompts_as_text_and_as_ids(server, model, stream):
    prompts = [PROMPT, "She was", "A"]
    ids = [server.served.tokenizer.encode(text).tolist() for text in prompts]
    wanted = [expected(model, text, 8).text for text in prompts]
    for given in (prompts, ids):
        assert server.ask(prompt=given, max_tokens=8, stream=stream).texts == wanted
    echoed = [text + more for text, more in zip(prompts, wanted, strict=True)]
    for given in (prompts, ids):
        assert server.ask(prompt=given, max_tokens=8, stream=stream, echo=True).texts == echoed


def test_a_stop_ends_the_text_and_is_left_out(server, model):
    whole = expected(model, PROMPT, 40).text
    stop = whole[12:15]
    found = server.ask(prompt=PROMPT, max_tokens=40, stop=["never said", stop])
    assert (found.text, found.reasons) == (whole[: whole.index(stop)], ["stop"])
    assert found.usage.completion_tokens < 40


def test_the_end_of_the_text_ends_it(model):
    ids = expected(model, PROMPT, 24).token_ids
    ended = replace(model, special_ids={"eos": [ids[9], ids[5]]})
    with running(served(ended)) as server:
        found = server.ask(prompt=PROMPT, max_tokens=24)
    wanted = expected(ended, PROMPT, 24)
    assert (found.text, found.reasons, wanted.finish_reason) == (wanted.text, ["stop"], "eos")
    assert found.usage.completion_tokens == len(wanted.token_ids) <= 6


def test_what_asks_for_nothing_is_taken(server, model):
    found = server.ask(
        prompt="A", max_tokens=4, logprobs=None, frequency_penalty=0, presence_penalty=0.0,
        logit_bias={}, suffix=None, best_of=1, user="somebody",
        extra_body={"max_tokens": 4.0},  # a whole number, in JSON
    )  # fmt: skip
    assert found.text == expected(model, "A", 4).text


def test_the_models_are_the_one_that_is_served(server):
    client = server.client()
    with pytest.raises(openai.NotFoundError, match="the one that is served is 'demo'"):
        client.models.retrieve("gpt-4")
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").id == "demo"
