"""The prefix cache: what it keeps, what it costs, and that answers stay the same."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmamba.model.data import austen
from lightmamba.serve.prefix import BLOCK, PrefixCache
from tests.serve.running import expected, running, served


def ids(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def test_the_longest_beginning_is_found():
    cache = PrefixCache(100, lambda tokens: 10)
    for length in (1, 3, 5):
        cache.put(np.arange(length), length)
    assert cache.longest(np.arange(9)) == (5, 5)
    assert cache.longest(np.arange(4)) == (3, 3)
    assert cache.longest(ids(0, 1, 7)) == (1, 1)
    assert cache.longest(ids(1, 2, 3)) is None
    assert cache.longest(ids()) is None
    assert cache.has(np.arange(3))
    assert not cache.has(np.arange(4))


def test_the_longest_unused_goes_first():
    cache = PrefixCache(39, lambda tokens: 10)  # three states
    for n in range(3):
        cache.put(ids(n), n)
    assert cache.longest(ids(0, 9)) == (1, 0)  # used
    assert cache.has(ids(1))  # used too
    cache.put(ids(3), 3)
    assert len(cache) == 3
    assert cache.used == 30
    assert cache.longest(ids(2, 9)) is None
    assert cache.longest(ids(0, 9)) is not None
    assert cache.longest(ids(1, 9)) is not None


def test_a_cache_of_nothing_keeps_nothing():
    cache = PrefixCache(9, lambda tokens: 10)
    cache.put(ids(1), 1)
    assert (len(cache), cache.longest(ids(1))) == (0, None)


@pytest.fixture(scope="module")
def long(server):
    """About 1,024 tokens of text."""
    tokens = server.served.tokenizer.encode(austen()[2][:8000])[:1024]
    assert len(tokens) == 1024
    return tokens.tolist()


def test_a_prompt_is_read_once(model, long):
    options = {"max_tokens": 8, "seed": 1, "temperature": 0.9}
    with running(served(model)) as server:
        for n in range(3):
            before = server.total("computed_tokens")
            found = server.ask(prompt=long, **options)
            assert found.text == expected(model, long, **options).text
            computed = server.total("computed_tokens") - before
            assert computed == (1024 + 7 if n == 0 else 1 + 7)
            assert found.usage.prompt_tokens_details.cached_tokens == (0 if n == 0 else 1023)
        # A prompt that shares its beginning goes on from the last block that they share.
        other = [*long[:900], *reversed(long[:100])]
        found = server.ask(prompt=other, **options)
        assert found.text == expected(model, other, **options).text
        assert found.usage.prompt_tokens_details.cached_tokens == 900 // BLOCK * BLOCK
        assert server.total("prefix_hits") == 3
        assert server.total("prefix_misses") == 1
        assert server.total("prefix_tokens") == 2 * 1023 + 900 // BLOCK * BLOCK
        assert "lightmamba_prefix_hits_total 3.0" in server.http().get("/metrics").text


def test_without_a_cache_everything_is_computed(model, long):
    options = {"max_tokens": 4, "seed": 3, "temperature": 1}
    with running(served(model), cache_bytes=0) as server:
        for _ in range(2):
            before = server.total("computed_tokens")
            first, second = server.ask(prompt=long, **options, n=2).texts
            assert first == expected(model, long, **options).text != second
            # The choices share the prompt's state all the same.
            assert server.total("computed_tokens") - before == 1024 + 3 + 1 + 3
        assert server.total("prefix_hits") == 0
