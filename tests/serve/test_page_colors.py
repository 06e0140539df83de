"""Colors of tokens by their probability, on the page at `/`."""

import codecs
import math

import pytest

from tests.serve.browsing import answered, chromium, generate, opened, stream, user


def spans(page):
    """Text, class and title of each part of the answer."""
    return page.locator(".answer span").evaluate_all(
        "all => all.map(node => [node.textContent, node.className, node.title])"
    )


def background(page, color: str):
    """Background of the first token of a color."""
    first = page.locator(f".answer .{color}").first
    return first.evaluate("node => getComputedStyle(node).backgroundColor")


def assert_colored(found, tokens: list[tuple[bytes, float]]) -> None:
    """A part for each token's bytes and log-probability; those of one character go together."""
    decoder, parts, held = codecs.getincrementaldecoder("utf-8")(), iter(found), []
    for data, logprob in tokens:
        held.append(logprob)
        if text := decoder.decode(data):
            p = math.exp(sum(held))
            shown, color, title = next(parts)
            assert (shown, color) == (text, f"p{sum(p < least for least in (0.9, 0.5, 0.1, 0.01))}")
            percent, rest = title.split(" %")
            assert float(percent) == pytest.approx(100 * p, rel=0.006)
            assert rest == (f", {len(held)} tokens" if len(held) > 1 else "")
            held = []
    assert next(parts, None) is None


def scored(server, prompt: str, **asked) -> list[tuple[bytes, float]]:
    """Bytes and log-probabilities of an answer's tokens, by the API itself."""
    if server.settings.api_key is None:
        found = server.ask(messages=[user(prompt)], logprobs=True, **asked)
        return [(bytes(t.bytes), t.logprob) for t in found.choices[0][0].logprobs.content]
    scores = server.ask(prompt=prompt, logprobs=0, **asked).choices[0][0].logprobs
    data = [
        bytes.fromhex(word[6:].replace("\\x", "")) if word.startswith("bytes:") else word.encode()
        for word in scores.tokens
    ]
    return list(zip(data, scores.token_logprobs, strict=True))


@chromium
@pytest.mark.parametrize(("name", "seed"), [("server", 2), ("plain", 4)])
def test_colors_change_no_text(page, request, name, seed):
    """Also where tokens are parts of characters or, at a high temperature, of none."""
    server, prompt = request.getfixturevalue(name), "“I am”—he said, “not £5”—"
    opened(page, server)
    for temperature in (4, 0.8):
        texts = []
        for colored in (False, True):
            if name == "server":
                page.click("#new")
            page.set_checked("#color", colored)
            page.fill("#temperature", str(temperature))
            generate(page, prompt, str(seed), "120")
            texts.append(answered(page))
            assert page.is_visible("#legend") == colored
            assert any(title for *_, title in spans(page)) == colored
        assert texts[0] == texts[1]
        assert ("\ufffd" in texts[0]) == (temperature == 4)
    found = spans(page)
    assert any("tokens" in title for *_, title in found)
    asked = {"max_tokens": 120, "seed": seed, "temperature": temperature}
    assert_colored(found, scored(server, prompt, **asked))
    assert len({background(page, color) for color in ("p0", "p1", "p2", "p3", "p4")}) == 5
    page.uncheck("#color")
    assert background(page, "p4") == background(page, "p0")


def chunk(text: str, tokens, offsets=None):
    """A chunk of a chat, or of a completion where there are offsets."""
    if offsets is None:
        content = [{"token": "?", "logprob": p, "bytes": list(data)} for data, p in tokens]
        return {"choices": [{"delta": {"content": text}, "logprobs": {"content": content}}]}
    scores = {"token_logprobs": [p for _, p in tokens], "text_offset": offsets}
    return {"choices": [{"text": text, "logprobs": scores}]}


@chromium
@pytest.mark.parametrize("name", ["server", "plain"])
def test_chunks_of_several_tokens_are_cut_at_them(page, request, name):
    """Characters of two chunks and of two halves in JavaScript, and a token without a text."""
    opened(page, request.getfixturevalue(name))
    page.check("#color")
    tokens = [
        (b"a", -0.05), (b"\xe2", -1.0), (b"\x80\x94", -2.0), (b"b", -0.5), (b"\xf0\x9f", -0.1),
        (b"\x98\x80", -4.0), (b"c", -0.01), (b"\xff", -1.0),
    ]  # fmt: skip
    offsets = [0, 1, 1, 2, 3, 3, 4, 5]
    events = [
        chunk(text, tokens[some], offsets[some] if name == "plain" else None)
        for text, some in (("a", slice(2)), ("—b😀c", slice(2, 7)), ("", slice(7, 8)))
    ]
    page.route("**/completions", stream(*events))
    generate(page, "Who?")
    assert answered(page) == "a—b😀c"
    assert_colored(spans(page), tokens[:-1])


@chromium
def test_tokens_whose_bytes_are_not_their_text_go_together(page, server):
    """Some tokenizers leave the first space of a text out, and the bytes of its token have it."""
    opened(page, server)
    page.check("#color")
    some = chunk("It was", [(b" It", -1.0), (b" was", -2.0)])
    page.route("**/completions", stream(some, chunk(" a", [(b" a", -0.5)])))
    generate(page, "Who?")
    assert [part[0] for part in spans(page)] == ["It was", " a"]
    assert [part[2] for part in spans(page)] == ["4.98 %, 2 tokens", "60.7 %"]
