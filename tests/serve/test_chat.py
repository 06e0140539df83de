"""/v1/chat/completions: the checkpoint's template, generation config and ends."""

import asyncio
from dataclasses import replace
from typing import Any

import openai
import pytest

from lightmamba.text import render_chat
from tests.serve.running import expected, running, served, with_chat

MESSAGES: Any = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Who "}, {"type": "text", "text": "is?"}],
    },
]
RENDERED = "system: Be brief.\nuser: Who is?\nassistant:"


def rendered(server):
    return server.served.tokenizer.encode(RENDERED, add_special_tokens=False)


def test_a_chat_is_answered_by_the_template(server, model):
    found = server.client().chat.completions.create(
        model="demo", messages=MESSAGES, max_completion_tokens=16, seed=4, temperature=0.9
    )
    message = found.choices[0].message
    wanted = expected(model, rendered(server), 16, seed=4, temperature=0.9)
    assert (message.role, message.content) == ("assistant", wanted.text)
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(rendered(server))


def test_a_streamed_chat_says_the_same(server, model):
    chunks = list(
        server.client().chat.completions.create(
            model="demo", messages=MESSAGES, max_tokens=16, n=2, stream=True, seed=4,
            temperature=0.9, stream_options={"include_usage": True},
        )
    )  # fmt: skip
    texts, roles = ["", ""], {}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.delta.role is not None:
                roles[choice.index] = choice.delta.role
    assert texts[0] == expected(model, rendered(server), 16, seed=4, temperature=0.9).text
    assert texts[1] != texts[0]
    assert roles == {0: "assistant", 1: "assistant"}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 32


def test_a_developer_is_the_system(server):
    """The newer name of the role in OpenAI's API; templates know the older one."""
    client, texts = server.client(), set()
    for role in ("system", "developer"):
        messages = [{"role": role, "content": "Be brief."}, *MESSAGES[1:]]
        found = client.chat.completions.create(model="demo", messages=messages, max_tokens=8)
        texts.add((found.choices[0].message.content, found.usage.prompt_tokens))
    assert texts == {(found.choices[0].message.content, len(rendered(server)))}


def test_the_generation_config_gives_the_defaults(model):
    talking = with_chat(model, {"do_sample": True, "temperature": 1.3, "top_k": 20})
    with running(served(talking)) as server:
        client = server.client()
        ids = rendered(server)
        found = client.chat.completions.create(
            model="demo", messages=MESSAGES, max_tokens=16, seed=2
        )
        greedy = client.chat.completions.create(
            model="demo", messages=MESSAGES, max_tokens=16, seed=2, temperature=0
        )
    text = found.choices[0].message.content
    assert text == expected(model, ids, 16, seed=2, temperature=1.3, top_k=20).text
    assert text != greedy.choices[0].message.content == expected(model, ids, 16).text


def test_a_chat_goes_on_from_its_saved_state(model):
    """The second turn begins with the first one's messages and answer: none of it is run again."""
    with running(served(model)) as server:
        client = server.client()
        turns: Any = [{"role": "user", "content": "It is a truth universally acknowledged. " * 8}]
        first = client.chat.completions.create(model="demo", messages=turns, max_tokens=24)
        assert first.usage is not None
        answer = first.choices[0].message.content
        assert answer is not None
        turns += [{"role": "assistant", "content": answer[1:]}, {"role": "user", "content": "Yes?"}]
        before = server.total("computed_tokens")
        second = client.chat.completions.create(model="demo", messages=turns, max_tokens=8)
        assert second.usage is not None
        assert second.usage.prompt_tokens_details is not None
        cached = second.usage.prompt_tokens_details.cached_tokens
        assert cached is not None
        assert cached >= first.usage.prompt_tokens - 1
        computed = server.total("computed_tokens") - before
        assert computed == second.usage.prompt_tokens - cached + 7
    text = "".join(f"{m['role']}: {m['content']}\n" for m in turns) + "assistant:"
    ids = server.served.tokenizer.encode(text, add_special_tokens=False)
    assert second.choices[0].message.content == expected(model, ids, 8).text


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"messages": []}, "messages is an empty list; give at least one entry"),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages.0.role must be 'system', 'developer', 'user' or 'assistant', not 'tool'",
        ),
        ({"max_tokens": 0}, "max_tokens must be at least 1, not 0"),
        ({"logprobs": 1}, "logprobs must be true or false, not 1"),
        ({"messages": [{"role": "user"}]}, "messages.0.content is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0"),
        ({"max_tokens": 3, "max_completion_tokens": 3}, "mean the same; give one of them"),
        ({"tools": [{"type": "function"}]}, "this server does not offer tools; leave it out"),
        ({"response_format": {"type": "json_object"}}, "does not offer response_format"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs must be at most 20, not 21"),
    ],
)
def test_what_is_refused_says_why(server, given, sentence):
    arguments = {"model": "demo", "messages": MESSAGES} | given
    with pytest.raises(openai.BadRequestError) as caught:
        server.client().chat.completions.create(**arguments)
    assert sentence in caught.value.message


def test_no_template_and_a_template_that_refuses(model):
    refusing = replace(model, chat_template="{{ raise_exception('no thanks') }}")
    for given, sentence in (
        (replace(model, chat_template=None), "no chat template, so it is not a chat model; use"),
        (refusing, "the model's chat template refuses this: no thanks"),
    ):
        with running(served(given)) as server, pytest.raises(openai.BadRequestError) as caught:
            server.client().chat.completions.create(model="demo", messages=MESSAGES)
        assert sentence in caught.value.message


def test_a_template_is_rendered_outside_the_event_loop(model, monkeypatch):
    """It is a stranger's code, and may take long for a short message too."""
    rendered = []

    def watched(*args: Any, **options: Any) -> str:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        rendered.append(render_chat(*args, **options))
        return rendered[0]

    monkeypatch.setattr("lightmamba.text.model.render_chat", watched)
    with running(served(model)) as server:
        server.client().chat.completions.create(model="demo", messages=MESSAGES, max_tokens=1)
    assert rendered == [RENDERED]
