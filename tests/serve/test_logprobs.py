"""Log-probabilities by the API: of answers, and of prompts that an evaluation scores."""

import numpy as np
import pytest
import tokenizers
from tokenizers.processors import ByteLevel, TemplateProcessing

from lightmamba.engine import Engine
from lightmamba.model.tokenizer import Tokenizer
from lightmamba.serve.prepare import starts
from tests.serve.running import expected, running, served

PROMPT = "It is a truth universally acknowledged"


def exact(model, ids):
    """Log-softmax (seqlen, valid_vocab) of every position of a text, in double precision."""
    engine = Engine(model)
    logits, _ = engine.forward(np.array([ids]), engine.empty_state(1), last_only=False)
    nats = logits[0, :, : engine.valid_vocab] * 2.0**engine.logit_exponent
    nats -= nats.max(axis=1, keepdims=True)
    return nats - np.log(np.exp(nats).sum(axis=1, keepdims=True))


def assert_scored(model, ids, logprobs):
    """The log-probabilities of a text's tokens, of which the first follows nothing."""
    assert logprobs[0] is None
    rows = exact(model, ids)
    own = [rows[i, token] for i, token in enumerate(ids[1:])]
    np.testing.assert_allclose(logprobs[1 : len(ids)], own, atol=1e-6)


def logprobs_of(said, index=0):
    """Log-probabilities of all tokens of a choice."""
    parts = [part.logprobs for part in said.choices[index] if part.logprobs]
    return [logprob for part in parts for logprob in part.token_logprobs]


def test_a_prompt_is_scored_as_an_evaluation_does(server, model):
    """As lm-evaluation-harness asks: a text's own log-probabilities, and the likeliest."""
    ids = server.served.tokenizer.encode(PROMPT).tolist()
    found = server.ask(prompt=[ids, ids[:1]], max_tokens=1, logprobs=2, echo=True)
    scores = found.chunks[0].choices[0].logprobs
    assert len(scores.token_logprobs) == len(ids) + 1
    assert_scored(model, ids, scores.token_logprobs)
    assert scores.top_logprobs[0] is None
    for row, top in zip(exact(model, ids), scores.top_logprobs[1:], strict=True):
        np.testing.assert_allclose(sorted(top.values())[::-1], np.sort(row)[:-3:-1], atol=1e-6)
    assert "".join(scores.tokens) == found.text
    assert scores.text_offset[0] == 0
    assert scores.text_offset[-1] == len(PROMPT)
    assert len(logprobs_of(found, 1)) == 2  # a prompt of one token


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_a_prompt_alone_is_scored(server, model, stream, count):
    """As a text is scored: nothing is generated, and nothing but the prompt comes back."""
    ids = server.served.tokenizer.encode(PROMPT).tolist()
    before = server.total("generated_tokens")
    asked = {"prompt": [ids, ids[:1]], "max_tokens": 0, "logprobs": 0, "echo": True, "n": count}
    found = server.ask(**asked, stream=stream)
    assert found.usage.completion_tokens == server.total("generated_tokens") - before == 0
    short = server.served.tokenizer.decode(ids[:1])
    assert found.texts == [PROMPT] * count + [short] * count
    assert found.reasons == ["length"] * 2 * count
    for index in range(count):
        assert_scored(model, ids, logprobs_of(found, index))
        assert logprobs_of(found, count + index) == [None]


@pytest.mark.parametrize("tokens", [0, 4])
def test_none_unless_they_are_asked_for(server, tokens):
    """A prompt that is cached and one that is not: the same state ends the request."""
    prompt = " ".join([PROMPT] * 20)
    for _ in range(2):
        found = server.ask(prompt=prompt, max_tokens=tokens, echo=True)
        assert found.text.startswith(prompt)
        assert (found.text == prompt) == (not tokens)
        assert found.chunks[0].choices[0].logprobs is None


def test_a_prompt_is_scored_whatever_is_cached(model):
    """In short spans; the cache knows the state after it, but not its log-probabilities."""
    with running(served(model)) as server:
        ids = server.served.tokenizer.encode(" ".join([PROMPT] * 40)).tolist()
        assert len(ids) > 256
        for _ in range(2):
            server.ask(prompt=ids, max_tokens=4)
        assert server.total("prefix_hits")
        before = server.total("passes")
        found = server.ask(prompt=ids, max_tokens=4, n=2, logprobs=0, echo=True)
        assert server.total("passes") - before >= len(ids) // 32
        for index in range(2):
            assert_scored(model, ids, logprobs_of(found, index))
            assert found.choices[index][0].logprobs.top_logprobs[5] == {}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_scored(server, model, stream):
    asked = {"prompt": PROMPT, "max_tokens": 12, "temperature": 1.2, "seed": 4}
    found = server.ask(**asked, logprobs=3, stream=stream)
    parts = [part.logprobs for part in found.choices[0] if part.logprobs]
    offsets = [o for part in parts for o in part.text_offset]
    words = [w for part in parts for w in part.tokens]
    wanted = expected(model, **asked)
    prompt = server.served.tokenizer.encode(PROMPT).tolist()
    rows = exact(model, [*prompt, *wanted.token_ids])[len(prompt) - 1 :]
    own = [rows[i, token] for i, token in enumerate(wanted.token_ids)]
    np.testing.assert_allclose(logprobs_of(found), own, atol=1e-6)
    assert "".join(words) == wanted.text
    assert offsets == np.cumsum([0, *map(len, words)])[:-1].tolist()


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_scored(server, stream):
    messages = [{"role": "user", "content": "Who?"}]
    found = server.ask(
        messages=messages, max_tokens=8, logprobs=True, top_logprobs=2, stream=stream
    )
    parts = [part.logprobs for part in found.choices[0] if part.logprobs]
    tokens = [token for part in parts for token in part.content]
    assert len(tokens) == 8
    for token in tokens:  # greedy: the first alternative is the token itself
        assert token.top_logprobs[0].token == token.token
        assert token.top_logprobs[0].logprob == token.logprob >= token.top_logprobs[1].logprob
        assert bytes(token.bytes).decode() == token.token


def test_parts_of_characters_are_bytes(server):
    """A token that is not a whole character has its bytes, and does not move the offsets."""
    tokenizer = server.served.tokenizer
    ids = tokenizer.encode("— “I am” £").tolist()
    found = server.ask(prompt=ids, max_tokens=1, logprobs=0, echo=True)
    scores = found.chunks[0].choices[0].logprobs
    assert any(word.startswith("bytes:") for word in scores.tokens[:-1]), scores.tokens
    data = b"".join(
        bytes.fromhex(word[6:].replace("\\x", "")) if word.startswith("bytes:") else word.encode()
        for word in scores.tokens[:-1]
    )
    assert data.decode() == tokenizer.decode(ids)
    assert scores.text_offset[-1] == len(tokenizer.decode(ids))


def test_a_token_after_a_broken_character_begins_behind_it(server):
    tokenizer = server.served.tokenizer
    first = tokenizer.encode("£").tolist()[0]
    ids = [*tokenizer.encode("a").tolist(), first, *tokenizer.encode("bc").tolist()]
    assert tokenizer.decode(ids) == "a\ufffdbc"
    found = server.ask(prompt=ids, max_tokens=0, logprobs=0, echo=True)
    scores = found.chunks[0].choices[0].logprobs
    for word, offset in zip(scores.tokens, scores.text_offset, strict=True):
        assert word.startswith("bytes:") or found.text[offset:].startswith(word)


@pytest.mark.parametrize("stream", [False, True])
def test_offsets_are_of_the_prompt_as_it_was_given(server, stream):
    """With the name of a special token, which no answer has, and with characters of many bytes."""
    tokenizer = server.served.tokenizer
    name = tokenizer.token(0)
    assert tokenizer.decode([0]) == ""
    prompt = f"— £{name} and she"
    asked = {"prompt": prompt, "max_tokens": 3, "logprobs": 0, "echo": True}
    found = server.ask(**asked, stream=stream)
    parts = [part.logprobs for part in found.choices[0] if part.logprobs]
    offsets = [o for part in parts for o in part.text_offset]
    words = [w for part in parts for w in part.tokens]
    at = words.index(name)
    assert offsets[at : at + 2] == [prompt.index(name), prompt.index(" and")]
    assert len(prompt) in offsets
    for word, offset in zip(words[at:], offsets[at:], strict=True):
        assert found.text[offset:].startswith(word)


@pytest.mark.parametrize("added", [False, True])
def test_first_characters_whatever_the_tokenizer_trims_or_adds(server, added):
    """Offsets of tokenizers of GPT-NeoX leave the space before a word out."""
    inner = tokenizers.Tokenizer.from_buffer(server.served.model.quantized.tokenizer)
    if added:
        name = inner.id_to_token(0)
        inner.post_processor = TemplateProcessing(
            single=f"{name} $A {name}", special_tokens=[(name, 0)]
        )
    else:
        inner.post_processor = ByteLevel(trim_offsets=True)
    text = "It was and — £ she"
    encoding = Tokenizer(inner).encoding(text)
    found = starts(encoding.offsets)
    if not added:
        assert any(text[start] != " " and text[start - 1] == " " for start, _ in encoding.offsets)
    words = [inner.decode([n], skip_special_tokens=True) for n in encoding.ids]
    assert found == sorted(found)
    for word, start in zip(words, found, strict=True):
        assert "\ufffd" in word or text[start:].startswith(word)
    assert found[-1] == (len(text) if added else text.rindex(words[-1]))
