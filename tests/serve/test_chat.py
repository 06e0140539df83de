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


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_answered_by_the_template(server, model, stream):
    asked = {"max_completion_tokens": 16, "n": 2, "seed": 4, "temperature": 0.9}
    found = server.ask(messages=MESSAGES, stream=stream, **asked)
    assert found.texts[0] == expected(model, rendered(server), 16, seed=4, temperature=0.9).text
    assert found.texts[1] != found.texts[0]
    assert found.reasons == ["length", "length"]
    for parts in found.choices.values():
        first, *others = (part.delta if stream else part.message for part in parts)
        assert first.role == "assistant"
        assert not any(part.role for part in others)
    assert found.usage.prompt_tokens == len(rendered(server))
    assert found.usage.completion_tokens == 32


def test_a_developer_is_the_system(server):
    """The newer name of the role in OpenAI's API; templates know the older one."""
    texts = set()
    for role in ("system", "developer"):
        messages = [{"role": role, "content": "Be brief."}, *MESSAGES[1:]]
        found = server.ask(messages=messages, max_tokens=8)
        texts.add((found.text, found.usage.prompt_tokens))
    assert texts == {(found.text, len(rendered(server)))}


def test_the_generation_config_gives_the_defaults(model):
    talking = with_chat(model, {"do_sample": True, "temperature": 1.3, "top_k": 20})
    with running(served(talking)) as server:
        ids = rendered(server)
        text = server.ask(messages=MESSAGES, max_tokens=16, seed=2).text
        greedy = server.ask(messages=MESSAGES, max_tokens=16, seed=2, temperature=0).text
    assert text == expected(model, ids, 16, seed=2, temperature=1.3, top_k=20).text
    assert text != greedy == expected(model, ids, 16).text


def test_a_chat_goes_on_from_its_saved_state(model):
    """The second turn begins with the first one's messages and answer: none of it is run again."""
    with running(served(model)) as server:
        turns = [{"role": "user", "content": "It is a truth universally acknowledged. " * 8}]
        first = server.ask(messages=turns, max_tokens=24)
        turns.append({"role": "assistant", "content": first.text[1:]})
        turns.append({"role": "user", "content": "Yes?"})
        before = server.total("computed_tokens")
        second = server.ask(messages=turns, max_tokens=8)
        cached = second.usage.prompt_tokens_details.cached_tokens
        assert cached >= first.usage.prompt_tokens - 1
        computed = server.total("computed_tokens") - before
        assert computed == second.usage.prompt_tokens - cached + 7
    text = "".join(f"{m['role']}: {m['content']}\n" for m in turns) + "assistant:"
    ids = server.served.tokenizer.encode(text, add_special_tokens=False)
    assert second.text == expected(model, ids, 8).text


def test_no_template_and_a_template_that_refuses(model):
    refusing = replace(model, chat_template="{{ raise_exception('no thanks') }}")
    for given, sentence in (
        (replace(model, chat_template=None), "no chat template, so it is not a chat model; use"),
        (refusing, "the model's chat template refuses this: no thanks"),
    ):
        with running(served(given)) as server, pytest.raises(openai.BadRequestError) as caught:
            server.ask(messages=MESSAGES)
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
        server.ask(messages=MESSAGES, max_tokens=1)
    assert rendered == [RENDERED]
