"""Refused requests: one sentence for each mistake, in OpenAI's form."""

import json
from typing import Any

import pytest

ANSWERS: dict[str, Any] = {
    "/v1/completions": {"prompt": "A", "max_tokens": 4},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Who?"}]},
}
MISTAKES: dict[str, list[tuple[dict[str, Any], str]]] = {
    "/v1/completions": [
        ({"max_tokens": 0}, "max_tokens 0 generates nothing; give echo: true to score the prompt"),
        ({"max_tokens": -1}, "max_tokens must be at least 0, not -1"),
        ({"max_tokens": 5000}, "this server generates at most 4096; try max_tokens 4096"),
        ({"temperature": -1}, "temperature must be at least 0, not -1"),
        ({"temperature": 0.001}, "temperature must be 0 (greedy) or from 0.01 to 100"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"logprobs": 21}, "logprobs must be at most 20, not 21"),
        (
            {"max_tokens": 1000, "n": 64, "logprobs": 20},
            "asks for up to 1,344,000 log-probabilities",
        ),
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
        ({"frobnicate": 1}, "'frobnicate' is not a parameter of this server"),
        ({"stream_options": {"include_usage": True}}, "stream_options needs stream: true"),
    ],
    "/v1/chat/completions": [
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
    "/tokenize": [
        ({}, 'give one of content, prompt and messages; for example {"content"'),
        ({"content": "x", "prompt": "x"}, "give one of content, prompt and messages"),
        ({"content": 3}, "content must be a text, not 3"),
        (
            {"content": "x", "add_special": True, "add_special_tokens": True},
            "add_special and add_special_tokens mean the same; give one of them",
        ),
        ({"content": "x", "parse_special": False}, "parse_special must be True"),
        ({"content": "x", "n": 1}, "'n' is not a parameter of this server"),
        ({"content": "\ud800"}, "the text is not valid Unicode at character 0"),
    ],
    "/detokenize": [
        ({}, "tokens is missing"),
        ({"tokens": [99_999]}, "token id 99999 is not in the tokenizer's vocab"),
        ({"tokens": [-1]}, "tokens.0 must be at least 0, not -1"),
        ({"tokens": "x"}, "tokens must be a list, not 'x'"),
    ],
}


def error(response, status):
    """The error object of a refusal, in OpenAI's form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    found = response.json()["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    assert found["type"] == kinds.get(status, "invalid_request_error")
    assert found["message"]
    assert "\n" not in found["message"]
    return found


@pytest.mark.parametrize(
    ("path", "given", "sentence"),
    [(path, *mistake) for path, mistakes in MISTAKES.items() for mistake in mistakes],
)
def test_what_is_refused_says_why(server, path, given, sentence):
    body = json.dumps(ANSWERS.get(path, {}) | given).encode()
    header = {"Content-Type": "application/json"}
    found = error(server.http().post(path, content=body, headers=header), 400)
    assert sentence in found["message"]


@pytest.mark.parametrize("path", MISTAKES)
def test_another_model_is_not_here(server, path):
    good = ANSWERS | {"/tokenize": {"content": "x"}, "/detokenize": {"tokens": []}}
    found = error(server.http().post(path, json=good[path] | {"model": "other"}), 404)
    assert found["code"] == "model_not_found"
    assert "the one that is served is 'demo'" in found["message"]
