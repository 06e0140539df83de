"""Keys, sizes, garbage: one sentence each, and the server stays as it was."""

import json
import random
import socket
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest
from bench.engine_serve import memory

from tests.serve.running import expected, running, served, wait_for
from tests.serve.test_refused import error
from tests.serve.test_stop import started

KEY = "a-key-of-ours"
GOOD = {"model": "demo", "prompt": "It was", "max_tokens": 8}


@pytest.fixture(scope="module")
def locked(model):
    with running(served(model), api_key=KEY, max_body=4096, body_seconds=1.0) as found:
        yield found


@pytest.mark.parametrize("key", ["a-key-of-our", "a-key-of-ours1", "ключ", "none"])
def test_a_wrong_key_is_refused(locked, key):
    http = locked.http()
    header = {"Authorization": f"Bearer {key}".encode()}
    for path in ("/v1/models", "/metrics", "/v1/other"):
        assert error(http.get(path, headers=header), 401)["code"] == "invalid_api_key"
    refused = http.post("/v1/completions", json=GOOD, headers=header)
    assert refused.headers["www-authenticate"] == "Bearer"
    error(refused, 401)


def test_the_key_is_asked_for_and_opens(locked, model):
    http = locked.http()
    error(http.get("/v1/models"), 401)
    error(http.get("/v1/models", headers={"Authorization": f"Basic {KEY}"}), 401)
    with pytest.raises(openai.AuthenticationError):
        locked.client(api_key="wrong-key").models.list()
    found = locked.ask(prompt="It was", max_tokens=8)
    assert found.text == expected(model, "It was", 8).text
    for path in ("/", "/health", "/openapi.json"):
        assert http.get(path).status_code == 200


def test_a_body_that_is_too_large_is_refused(locked):
    http = locked.http()
    http.headers["Authorization"] = f"Bearer {KEY}"
    for content in (b"x" * 5000, iter([b"x" * 3000] * 2)):  # with its length, and in chunks
        found = http.post("/v1/completions", content=content)
        assert "larger than 4096 bytes" in error(found, 413)["message"]
    assert http.post("/v1/completions", json=GOOD | {"user": "x" * 3900}).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(locked):
    host, port = locked.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        sock.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert b"408" in sock.recv(100)


def test_so_many_requests_at_a_time(model):
    """Bodies that are still arriving count too: each may hold a megabyte."""
    with running(served(model), max_requests=2) as server, ExitStack() as stack:
        host, port = server.url.removeprefix("http://").split(":")
        for _ in range(2):
            sock = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n"
            sock.sendall(head.encode() + b"{")
        http = server.http()
        wait_for(lambda: http.get("/health").status_code == 429)
        refused = http.post("/v1/completions", json=GOOD)
        assert error(refused, 429)["code"] == "too_many_requests"
        assert refused.headers["retry-after"] == "1"
        stack.close()
        wait_for(lambda: http.get("/health").status_code == 200)
        assert 'status="500"' not in http.get("/metrics").text
        assert http.post("/v1/completions", json=GOOD).status_code == 200


def test_a_page_of_another_site_cannot_use_the_server(server):
    """Its requests carry its own name, though it may resolve to this computer."""
    http = server.http()
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::2]:80", ""):
        assert error(http.get("/v1/models", headers={"Host": host}), 403)["code"] == "wrong_host"
    for host in ("localhost:1234", "127.0.0.1", "[::1]:8000"):
        assert http.get("/v1/models", headers={"Host": host}).status_code == 200
    preflight = http.options("/v1/completions", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in preflight.headers


def test_paths_and_methods_that_are_not_there(server):
    http = server.http()
    assert "/v1/completions" in error(http.get("/v1/nothing"), 404)["message"]
    assert "does not take GET" in error(http.get("/v1/completions"), 405)["message"]


GARBAGE = [
    b"", b"{", b"null", b"[]", b"0", b'"x"', b"\xff\xfe", b"{}" * 10, b"[" * 20_000,
    b'{"prompt": "\\ud800"}', b'{"prompt": NaN}', b'{"prompt": "x", "temperature": Infinity}',
    b'{"prompt": "x", "temperature": 1e999}', b'{"prompt": "x", "max_tokens": 1.5}',
    b'{"prompt": "x", "max_tokens": "5"}', b'{"prompt": "x", "max_tokens": true}',
    b'{"prompt": "x", "seed": ' + b"9" * 400 + b"}",
    b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}",
    b'{"prompt": {"a": 1}}', b'{"prompt": [[]]}', b'{"prompt": ["x", 1]}', b'{"prompt": [-1]}',
    b'{"prompt": [[1], "x"]}', b'{"prompt": [1e300]}', b'{"prompt": "x", "stop": [null]}',
    b'{"prompt": "x", "stream": "yes"}', b'{"prompt": "x", "n": 1000}',
    b'{"prompt": "x", "\\u0000": 1}', b'{"prompt": "x", "' + b"k" * 5000 + b'": 1}',
    b'{"prompt": "x", "top_p": 0}', b'{"prompt": "x", "model": ["demo"]}',
    b'{"messages": "x"}', b'{"messages": [1]}', b'{"messages": [{"role": "user"}]}',
]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_is_refused_in_one_sentence(server, path, number):
    header = {"Content-Type": "application/json"}
    found = server.http().post(path, content=GARBAGE[number], headers=header)
    assert len(error(found, 400)["message"]) < 1600


def malformed(seed: int) -> bytes:
    """A good body with bytes changed, cut or put in twice, or a value replaced by another kind."""
    rng = random.Random(seed)
    body = dict(GOOD, prompt="x" * rng.randrange(20_000), seed=rng.randrange(1 << 70))
    if rng.random() < 0.5:
        body[rng.choice(list(body))] = rng.choice([None, [], {}, "", -1, 1e308, [[["x"]]], True])
        body["unknown"] = 1
        return json.dumps(body).encode()
    data = bytearray(json.dumps(body).encode())
    for _ in range(rng.randrange(1, 20)):
        at = rng.randrange(len(data))
        data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(data) + b"}"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_thousand_malformed_requests_leave_memory_flat(model):
    with started() as (http, process):
        sizes = []
        for n in range(1250):
            body = malformed(n)
            found = http.post("/v1/completions", content=body)
            assert 400 <= found.status_code < 500, (body, found.text)
            if n >= 250 and n % 250 == 0:
                sizes.append(memory(process.pid)["resident"])
        sizes.append(memory(process.pid)["resident"])
        assert max(sizes) - sizes[0] < 4 << 20, sizes
        good = http.post("/v1/completions", json=GOOD | {"model": None}).json()
    assert good["choices"][0]["text"] == expected(model, "It was", 8).text


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
