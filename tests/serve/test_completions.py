"""/v1/completions through the official client: the texts of `generate`, whatever else is asked."""

from dataclasses import replace

import openai
import pytest

from tests.serve.running import expected, running, served

PROMPT = "It is a truth universally"
SAMPLED = {"temperature": 1.1, "top_p": 0.95}


def test_greedy_is_generate(server, model):
    client = server.client()
    found = client.completions.create(model="demo", prompt=PROMPT, max_tokens=24)
    wanted = expected(model, PROMPT, 24)
    assert found.choices[0].text == wanted.text
    assert found.choices[0].finish_reason == "length"
    prompt = len(server.served.tokenizer.encode(PROMPT))
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (prompt, 24)
    assert found.usage.total_tokens == prompt + 24
    assert found.object == "text_completion"


@pytest.mark.parametrize("stream", [False, True])
def test_one_seed_one_text(server, model, stream):
    client, texts = server.client(), {}
    for seed in (0, 7, 2**64 - 1):
        found = client.completions.create(
            model="demo", prompt=PROMPT, max_tokens=24, seed=seed, stream=stream, **SAMPLED
        )
        chunks = list(found) if stream else [found]
        texts[seed] = "".join(choice.text for chunk in chunks for choice in chunk.choices)
        assert texts[seed] == expected(model, PROMPT, 24, seed=seed, **SAMPLED).text
        assert all(chunk.seed == seed for chunk in chunks)
    assert len(set(texts.values())) == 3


def test_the_extensions_count(server, model):
    options = {"top_k": 30, "min_p": 0.01, "repetition_penalty": 1.3}
    found = server.client().completions.create(
        model="demo", prompt=PROMPT, max_tokens=32, seed=3, temperature=1.5, extra_body=options
    )
    wanted = expected(model, PROMPT, 32, seed=3, temperature=1.5, **options).text
    assert found.choices[0].text == wanted
    plain = expected(model, PROMPT, 32, seed=3, temperature=1.5).text
    assert wanted != plain


def test_a_seed_that_was_drawn_is_told_and_repeats(server):
    client = server.client()
    first, second = (
        client.completions.create(model="demo", prompt=PROMPT, max_tokens=24, temperature=1.5)
        for _ in range(2)
    )
    assert first.seed != second.seed
    again = client.completions.create(
        model="demo", prompt=PROMPT, max_tokens=24, temperature=1.5, seed=first.seed
    )
    assert again.choices[0].text == first.choices[0].text != second.choices[0].text


def test_choices_differ_and_the_first_is_generate(server, model):
    client = server.client()
    found = client.completions.create(
        model="demo", prompt=PROMPT, max_tokens=16, seed=5, n=4, temperature=1.5
    )
    texts = [choice.text for choice in found.choices]
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    for stream, text in enumerate(texts):
        assert text == expected(model, PROMPT, 16, seed=5, temperature=1.5, stream=stream).text
    assert len(set(texts)) == 4
    assert found.usage is not None
    assert found.usage.completion_tokens == 64
    assert found.usage.prompt_tokens == len(server.served.tokenizer.encode(PROMPT))
    again = client.completions.create(
        model="demo", prompt=PROMPT, max_tokens=16, seed=5, n=4, temperature=1.5, stream=True
    )
    streamed = [""] * 4
    for chunk in again:
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == texts


def test_several_prompts_as_text_and_as_ids(server, model):
    prompts = [PROMPT, "She was", "A"]
    ids = [server.served.tokenizer.encode(text).tolist() for text in prompts]
    wanted = [expected(model, text, 8).text for text in prompts]
    client = server.client()
    for given in (prompts, ids):
        found = client.completions.create(model="demo", prompt=given, max_tokens=8)
        assert [choice.text for choice in found.choices] == wanted
    one = client.completions.create(model="demo", prompt=ids[0], max_tokens=8, echo=True)
    assert one.choices[0].text == PROMPT + wanted[0]
    both = client.completions.create(
        model="demo", prompt=prompts[:2], max_tokens=8, echo=True, stream=True
    )
    streamed = ["", ""]
    for chunk in both:
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == [text + more for text, more in zip(prompts[:2], wanted[:2], strict=True)]


def test_a_stop_ends_the_text_and_is_left_out(server, model):
    whole = expected(model, PROMPT, 40).text
    stop = whole[12:15]
    found = server.client().completions.create(
        model="demo", prompt=PROMPT, max_tokens=40, stop=["never said", stop]
    )
    assert found.choices[0].text == whole[: whole.index(stop)]
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert found.usage.completion_tokens < 40


def test_usage_comes_last_when_it_is_asked_for(server):
    client = server.client()
    chunks = list(
        client.completions.create(
            model="demo", prompt=PROMPT, max_tokens=12, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert [c.finish_reason for chunk in chunks[:-1] for c in chunk.choices][-1] == "length"
    without = list(client.completions.create(model="demo", prompt="A", max_tokens=2, stream=True))
    assert all(chunk.usage is None for chunk in without)


def test_the_end_of_the_text_ends_it(model):
    ids = expected(model, PROMPT, 24).token_ids
    ended = replace(model, special_ids={"eos": [ids[9], ids[5]]})
    with running(served(ended)) as server:
        found = server.client().completions.create(model="demo", prompt=PROMPT, max_tokens=24)
    wanted = expected(ended, PROMPT, 24)
    assert found.choices[0].text == wanted.text
    assert found.choices[0].finish_reason == "stop"
    assert wanted.finish_reason == "eos"
    assert found.usage is not None
    assert found.usage.completion_tokens == len(wanted.token_ids) <= 6


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"max_tokens": 0}, "max_tokens 0 generates nothing; give echo: true to score the prompt"),
        ({"max_tokens": -1}, "max_tokens must be at least 0, not -1"),
        ({"max_tokens": 5000}, "this server generates at most 4096; try max_tokens 4096"),
        ({"temperature": -1}, "temperature must be at least 0, not -1"),
        ({"temperature": 0.001}, "temperature must be 0 (greedy) or from 0.01 to 100"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"logprobs": 21}, "logprobs must be at most 20, not 21"),
        ({"logit_bias": {"7": 1}}, "this server does not offer logit_bias; leave it out"),
        ({"best_of": 2}, "this server does not offer best_of; leave it out"),
        ({"presence_penalty": 3}, "presence_penalty must be at most 2, not 3"),
        ({"n": 65}, "asks for 65 choices, and this server gives at most 64"),
        ({"stop": [""]}, "a stop string is empty"),
        ({"stop": 3}, "stop must be a text, not 3"),
        ({"prompt": ""}, "the prompt has no tokens"),
        ({"prompt": []}, "prompt is an empty list; give at least one entry"),
        ({"stop": ["x"] * 17}, "stop has 17 entries, and may have 16"),
        ({"prompt": [1, 99_999]}, "token id 99999 is out of range; the model's ids are 0 to 2047"),
        ({"prompt": None}, "prompt must be a text, not None"),
        ({"prompt": [3, -1]}, "prompt.1 must be at least 0, not -1"),
        ({"prompt": ["x", 1]}, "prompt.1 must be a text, not 1"),
        ({"max_tokens": 2.5}, "max_tokens must be a whole number, not 2.5"),
        ({"extra_body": {"frobnicate": 1}}, "'frobnicate' is not a parameter of this server"),
        ({"stream_options": {"include_usage": True}}, "stream_options needs stream: true"),
    ],
)
def test_what_is_refused_says_why(server, given, sentence):
    arguments = {"model": "demo", "prompt": "A", "max_tokens": 4} | given
    with pytest.raises(openai.BadRequestError) as caught:
        server.client().completions.create(**arguments)
    error = caught.value.body
    assert isinstance(error, dict)
    assert sentence in error["message"]
    assert error["type"] == "invalid_request_error"
    assert "\n" not in error["message"]


def test_what_asks_for_nothing_is_taken(server, model):
    found = server.client().completions.create(
        model="demo", prompt="A", max_tokens=4, logprobs=None, frequency_penalty=0,
        presence_penalty=0.0, logit_bias={}, suffix=None, best_of=1, user="somebody",
        extra_body={"max_tokens": 4.0},  # a whole number, in JSON
    )  # fmt: skip
    assert found.choices[0].text == expected(model, "A", 4).text


def test_another_model_is_not_here(server):
    client = server.client()
    with pytest.raises(openai.NotFoundError, match="the one that is served is 'demo'"):
        client.completions.create(model="gpt-4", prompt="A")
    with pytest.raises(openai.NotFoundError, match="the one that is served is 'demo'"):
        client.models.retrieve("gpt-4")
    assert [model.id for model in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").id == "demo"
