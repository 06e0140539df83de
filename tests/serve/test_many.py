"""A hundred clients at once: every answer its own, none lost, whatever the others do."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.serve.running import expected, request, running, served, wait_for

CLIENTS = 100


@pytest.fixture(scope="module")
def busy(model):
    with running(served(model, slots=40)) as found:
        yield found


def in_parallel(work):
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(work, range(CLIENTS)))


@pytest.mark.parametrize("stream", [False, True])
def test_a_hundred_clients_get_what_generate_writes(busy, wanted, stream):
    before = busy.total("generated_tokens")
    found = in_parallel(lambda n: busy.ask(**request(n), stream=stream).text)
    assert found == [wanted(n) for n in range(CLIENTS)]
    tokens = sum(request(n)["max_tokens"] for n in range(CLIENTS))
    assert busy.total("generated_tokens") - before == tokens
    wait_for(lambda: busy.scheduler.running == 0)


def test_half_of_them_go_away_in_mid_stream(busy, wanted):
    """The others' answers are right, and nothing is computed for those that left."""
    client = busy.client(timeout=120)
    before = busy.total("cancelled_requests")

    def ask(n: int) -> str | None:
        asked = request(n)
        if n % 2:
            asked["max_tokens"] = 4000
        text = ""
        with client.completions.create(model="demo", stream=True, **asked) as chunks:
            for chunk in chunks:
                text += "".join(choice.text for choice in chunk.choices)
                if n % 2 and len(text) > 20:
                    return None
        return text

    found = in_parallel(ask)
    assert found[::2] == [wanted(n) for n in range(0, CLIENTS, 2)]
    wait_for(lambda: busy.scheduler.running + busy.scheduler.waiting == 0)
    assert busy.total("cancelled_requests") - before == CLIENTS // 2
    assert busy.ask(**request(1)).text == wanted(1)


def test_a_client_that_goes_away_before_its_answer(busy, wanted):
    """One that does not stream, and one that waits in the queue, are both given up."""
    before = busy.total("cancelled_requests")
    client = busy.client(timeout=0.5)
    with ThreadPoolExecutor(60) as pool:
        asked = [
            pool.submit(client.completions.create, model="demo", prompt="It", max_tokens=4000)
            for _ in range(60)
        ]
        assert all(isinstance(a.exception(), openai.APITimeoutError) for a in asked)
    wait_for(lambda: busy.scheduler.running + busy.scheduler.waiting == 0)
    assert busy.total("cancelled_requests") - before == 60
    assert busy.ask(**request(2)).text == wanted(2)


def test_a_full_queue_says_when_to_come_again(model):
    with running(served(model, slots=2), queue=3) as server:
        client = server.client()
        streams = [
            client.completions.create(model="demo", prompt="It", max_tokens=4000, stream=True)
            for _ in range(2)
        ]
        for one in streams:
            next(iter(one))  # both have a slot
        assert server.scheduler.running == 2
        streams += [
            client.completions.create(model="demo", prompt="It", max_tokens=4000, stream=True)
            for _ in range(3)
        ]
        assert server.scheduler.waiting == 3
        with pytest.raises(openai.RateLimitError) as caught:
            client.completions.create(model="demo", prompt="It")
        seconds = int(caught.value.response.headers["retry-after"])
        assert 1 <= seconds <= 60
        assert f"try again in {seconds} s" in caught.value.message
        assert server.total("refused_requests") == 1
        for one in streams:
            one.close()
        wait_for(lambda: server.scheduler.running + server.scheduler.waiting == 0)
        # The client waits as it is told and tries again.
        found = server.client(max_retries=3).completions.create(model="demo", prompt="It")
        assert found.choices[0].text == expected(model, "It", 16).text


def test_a_request_has_its_time(model):
    with running(served(model, slots=2), request_seconds=0.5) as server:
        client = server.client()
        with pytest.raises(openai.APIStatusError) as caught:
            client.completions.create(model="demo", prompt="It", max_tokens=4000)
        assert caught.value.status_code == 408
        assert "took longer than 0.5 s" in caught.value.message
        with pytest.raises(openai.APIError, match=r"took longer than 0\.5 s"):
            for _ in client.completions.create(
                model="demo", prompt="It", max_tokens=4000, stream=True
            ):
                pass
        assert server.total("timed_out_requests") == 2
        assert client.completions.create(model="demo", prompt="It", max_tokens=2).choices
