"""Mixed clients of a server: what they do is counted, and a wrong answer is found."""

import asyncio
from random import Random

import pytest
from bench.clients import Clients

from lightmamba.model.data import demo_file
from lightmamba.model.qmodel import load
from tests.serve.running import expected, request, running, served


@pytest.fixture(scope="module")
def demo():
    return load(demo_file())


@pytest.fixture(scope="module")
def bench(demo):
    with running(served(demo)) as found:
        yield found


def asked(bench, monkeypatch, texts):
    monkeypatch.setattr("bench.clients.NAME", "demo")
    clients, rng = Clients(bench.url, [request(n) for n in range(len(texts))], texts), Random(1)

    async def each() -> None:
        async with clients.connected() as http:
            for kind in clients.kinds:
                await clients.once(http, rng, kind)

    asyncio.run(each())
    return clients


def test_right_answers_are_no_others(bench, demo, monkeypatch):
    clients = asked(bench, monkeypatch, [expected(demo, **request(n)).text for n in range(4)])
    assert clients.first == ""
    assert clients.done == dict.fromkeys(clients.kinds, 1)


def test_another_text_is_found(bench, monkeypatch):
    clients = asked(bench, monkeypatch, ["not this"])
    assert clients.done["other"] == 3
    assert "not 'not this'" in clients.first
