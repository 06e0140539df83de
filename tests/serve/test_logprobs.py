"""Log-probabilities by the API: of answers, and of prompts that an evaluation scores."""

import numpy as np
import openai
import pytest

from lightmamba.engine import Engine
from tests.serve.running import expected, running, served

PROMPT = "It is a truth universally acknowledged"


def exact(model, ids):
    """Log-softmax (seqlen, valid_vocab) of every position of a text, in double precision."""
    engine = Engine(model)
    logits, _ = engine.forward(np.array([ids]), engine.empty_state(1), last_only=False)
    nats = logits[0, :, : engine.valid_vocab] * 2.0**engine.logit_exponent
    nats -= nats.max(axis=1, keepdims=True)
    return nats - np.log(np.exp(nats).sum(axis=1, keepdims=True))


def test_a_prompt_is_scored_as_an_evaluation_does(server, model):
    """As lm-evaluation-harness asks: a text's own log-probabilities, and the likeliest."""
    ids = server.served.tokenizer.encode(PROMPT).tolist()
    wanted = exact(model, ids)
    found = server.client().completions.create(
        model="demo", prompt=[ids, ids[:1]], max_tokens=1, logprobs=2, echo=True
    )
    scores = found.choices[0].logprobs
    assert len(scores.token_logprobs) == len(ids) + 1
    assert scores.token_logprobs[0] is None
    assert scores.top_logprobs[0] is None
    own = [wanted[i, token] for i, token in enumerate(ids[1:])]
    np.testing.assert_allclose(scores.token_logprobs[1:-1], own, atol=1e-6)
    for row, top in zip(wanted, scores.top_logprobs[1:], strict=True):
        np.testing.assert_allclose(sorted(top.values())[::-1], np.sort(row)[:-3:-1], atol=1e-6)
    assert "".join(scores.tokens) == found.choices[0].text
    assert scores.text_offset[0] == 0
    assert scores.text_offset[-1] == len(PROMPT)
    assert len(found.choices[1].logprobs.token_logprobs) == 2  # a prompt of one token


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_a_prompt_alone_is_scored(server, model, stream, count):
    """As a text is scored: nothing is generated, and nothing but the prompt comes back."""
    ids = server.served.tokenizer.encode(PROMPT).tolist()
    before = server.total("generated_tokens")
    found = server.client().completions.create(
        model="demo", prompt=[ids, ids[:1]], max_tokens=0, logprobs=0, echo=True, n=count,
        stream=stream, **({"stream_options": {"include_usage": True}} if stream else {}),
    )  # fmt: skip
    chunks = list(found) if stream else [found]
    assert chunks[-1].usage.completion_tokens == server.total("generated_tokens") - before == 0
    texts, reasons = [""] * 2 * count, {}
    logprobs: list[list[float]] = [[] for _ in texts]
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.text
        logprobs[choice.index] += choice.logprobs.token_logprobs if choice.logprobs else []
        reasons[choice.index] = choice.finish_reason
    assert texts == [PROMPT] * count + [server.served.tokenizer.decode(ids[:1])] * count
    assert set(reasons.values()) == {"length"}
    rows = exact(model, ids)
    own = [rows[i, token] for i, token in enumerate(ids[1:])]
    for mine in logprobs[:count]:
        assert mine[0] is None
        np.testing.assert_allclose(mine[1:], own, atol=1e-6)
    assert logprobs[count:] == [[None]] * count


def test_a_prompt_alone_comes_back_without_scores(server):
    """Cached or not: the same state ends the request."""
    prompt = " ".join([PROMPT] * 20)
    for _ in range(2):
        found = server.client().completions.create(
            model="demo", prompt=prompt, max_tokens=0, echo=True
        )
        assert found.choices[0].text == prompt
        assert found.choices[0].logprobs is None


def test_a_prompt_is_scored_whatever_is_cached(model):
    """The cache knows the state after the prompt, but not its log-probabilities."""
    with running(served(model)) as server:
        client = server.client()
        long = " ".join([PROMPT] * 8)
        ids = server.served.tokenizer.encode(long).tolist()
        client.completions.create(model="demo", prompt=long, max_tokens=4)
        client.completions.create(model="demo", prompt=long, max_tokens=4)
        assert server.total("prefix_hits")
        found = client.completions.create(
            model="demo", prompt=ids, max_tokens=4, n=2, logprobs=0, echo=True
        )
        wanted = exact(model, ids)
        own = [wanted[i, token] for i, token in enumerate(ids[1:])]
        for choice in found.choices:
            scores = choice.logprobs.token_logprobs
            np.testing.assert_allclose(scores[1 : len(ids)], own, atol=1e-6)
            assert choice.logprobs.top_logprobs[5] == {}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_scored(server, model, stream):
    client = server.client()
    found = client.completions.create(
        model="demo", prompt=PROMPT, max_tokens=12, logprobs=3, temperature=1.2, seed=4,
        stream=stream,
    )  # fmt: skip
    chunks = list(found) if stream else [found]
    parts = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]
    logprobs = [p for part in parts for p in part.token_logprobs]
    offsets = [o for part in parts for o in part.text_offset]
    words = [w for part in parts for w in part.tokens]
    wanted = expected(model, PROMPT, 12, temperature=1.2, seed=4)
    prompt = server.served.tokenizer.encode(PROMPT).tolist()
    rows = exact(model, [*prompt, *wanted.token_ids])[len(prompt) - 1 :]
    own = [rows[i, token] for i, token in enumerate(wanted.token_ids)]
    np.testing.assert_allclose(logprobs, own, atol=1e-6)
    assert "".join(words) == wanted.text
    assert offsets == np.cumsum([0, *map(len, words)])[:-1].tolist()


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_scored(server, model, stream):
    found = server.client().chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "Who?"}], max_tokens=8,
        logprobs=True, top_logprobs=2, stream=stream,
    )  # fmt: skip
    chunks = list(found) if stream else [found]
    tokens = [
        token for chunk in chunks for choice in chunk.choices if choice.logprobs
        for token in choice.logprobs.content
    ]  # fmt: skip
    assert len(tokens) == 8
    for token in tokens:  # greedy: the first alternative is the token itself
        assert token.top_logprobs[0].token == token.token
        assert token.top_logprobs[0].logprob == token.logprob >= token.top_logprobs[1].logprob
        assert bytes(token.bytes).decode() == token.token


def test_none_unless_they_are_asked_for(server):
    found = server.client().completions.create(model="demo", prompt=PROMPT, max_tokens=4, echo=True)
    assert found.choices[0].logprobs is None


def test_penalties_count(server, model):
    options = {"frequency_penalty": 1.5, "presence_penalty": 0.5}
    found = server.client().completions.create(
        model="demo", prompt=PROMPT, max_tokens=40, **options
    )
    wanted = expected(model, PROMPT, 40, **options).text
    assert found.choices[0].text == wanted != expected(model, PROMPT, 40).text


def test_parts_of_characters_are_bytes(server):
    """A token that is not a whole character has its bytes, and does not move the offsets."""
    tokenizer = server.served.tokenizer
    ids = tokenizer.encode("— “I am” £").tolist()
    found = server.client().completions.create(
        model="demo", prompt=ids, max_tokens=1, logprobs=0, echo=True
    )
    scores = found.choices[0].logprobs
    assert any(word.startswith("bytes:") for word in scores.tokens[:-1]), scores.tokens
    data = b"".join(
        bytes.fromhex(word[6:].replace("\\x", "")) if word.startswith("bytes:") else word.encode()
        for word in scores.tokens[:-1]
    )
    assert data.decode() == tokenizer.decode(ids)
    assert scores.text_offset[-1] == len(tokenizer.decode(ids))


def test_too_many_are_refused(server):
    with pytest.raises(openai.BadRequestError, match=r"asks for up to 1,344,000 log-probabilities"):
        server.client().completions.create(
            model="demo", prompt="A", max_tokens=1000, n=64, logprobs=20
        )


def test_a_long_prompt_is_read_in_short_spans(model):
    with running(served(model)) as server:
        ids = server.served.tokenizer.encode(" ".join([PROMPT] * 40)).tolist()
        assert len(ids) > 256
        before = server.total("passes")
        found = server.client().completions.create(
            model="demo", prompt=ids, max_tokens=1, logprobs=0, echo=True
        )
        assert server.total("passes") - before >= len(ids) // 32
        wanted = exact(model, ids)
        own = [wanted[i, token] for i, token in enumerate(ids[1:])]
        got = found.choices[0].logprobs.token_logprobs
        np.testing.assert_allclose(got[1:-1], own, atol=1e-6)


def test_requests_are_logged(server, caplog):
    with caplog.at_level("DEBUG", logger="lightmamba.access"):
        http = server.http()
        http.get("/v1/models")
        http.get("/health")
        http.get("/nothing%0Ahere")
    levels = {record.getMessage().rsplit(",", 1)[0]: record.levelname for record in caplog.records}
    assert levels["GET /v1/models 200"] == "INFO"
    assert levels["GET /health 200"] == "DEBUG"
    assert levels["GET /nothing%0Ahere 404"] == "INFO"
