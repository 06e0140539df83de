"""Keys, sizes, garbage: one sentence each, and the server stays as it was."""

import json
import random
import socket
import time
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import openai
import pytest
from bench.engine_serve import memory
from pydantic import ValidationError

from lightmamba.serve.connection import HEAD
from lightmamba.serve.schema import ChatRequest, CompletionRequest, DetokenizeRequest
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


def raw(stack, server):
    """A connection, and the first lines of a head that asks for the server's health."""
    host, port = server.url.removeprefix("http://").split(":")
    sock = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
    return sock, f"GET /health HTTP/1.1\r\nHost: {host}\r\n".encode()


def post(head, path, body):
    """A head that sends a body of JSON to a path, instead of asking for the server's health."""
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.replace(b"GET /health", b"POST " + path) + more.encode()


def closed(sock):
    """Wait for the end of a connection; what came before."""
    found = b""
    try:
        while part := sock.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


def test_a_head_that_does_not_come_is_not_waited_for(locked):
    """A head of a connection's first request, or of its second one."""
    parts = (b"\r\n", b"GET", b"GET / HTTP/1.1\r\nX: ")
    with ExitStack() as stack:
        socks = []
        for before, sent in [(False, b""), *((n, part) for n in (False, True) for part in parts)]:
            sock, head = raw(stack, locked)
            if before:
                sock.sendall(head + b"\r\n")
                assert b"200 OK" in sock.recv(4096)
            sock.sendall(sent)
            socks.append(sock)
        assert [closed(sock) for sock in socks] == [b""] * len(socks)


def test_a_refusal_is_read_before_the_body_is_sent(model):
    """The rest of a body is no head of a next request, however large; it is taken and forgotten."""
    with running(served(model), api_key=KEY) as server, ExitStack() as stack:
        sock, head = raw(stack, server)
        sock.sendall(post(head, b"/v1/completions", 8 * HEAD * b"y"))
        reader = HTTPResponse(sock)
        reader.begin()
        assert reader.status == 401
        reader.read()
        for _ in range(8):
            sock.sendall(HEAD * b"y")
        sock.sendall(head + b"\r\n")
        assert b"200 OK" in sock.recv(4096)


def test_trailers_are_no_way_around_the_limit_of_a_body(locked):
    with ExitStack() as stack:
        sock, head = raw(stack, locked)
        start = head.replace(b"GET /health", b"POST /v1/completions")
        more = f"Authorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
        sock.sendall(start + more.encode())

        def send():
            for _ in range(100):
                sock.sendall(HEAD * b"y")
                time.sleep(0.005)

        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            send()


def test_a_slow_reader_reads_all(model):
    """Though it takes longer than the time after which one that reads nothing is closed."""
    with running(served(model), body_seconds=1.0) as server, ExitStack() as stack:
        ask = GOOD | {"prompt": [5] * 8000, "echo": True, "logprobs": 20, "max_tokens": 1}
        body = json.dumps(ask).encode()
        sock = stack.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        host, port = server.url.removeprefix("http://").split(":")
        sock.connect((host, int(port)))
        head = f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n".encode()
        sock.sendall(post(head, b"/v1/completions", body) + body)
        found, begin = b"", time.monotonic()
        while part := sock.recv(1 << 13):
            found += part
            time.sleep(0.01 if time.monotonic() < begin + 4 else 0)
        assert json.loads(found.partition(b"\r\n\r\n")[2])["usage"]["prompt_tokens"] == 8000


def test_a_head_that_comes_in_pieces_is_taken(server):
    """Also after a large body, which is no part of it."""
    with ExitStack() as stack:
        sock, head = raw(stack, server)
        body = json.dumps({"content": 2 * HEAD * "y"}).encode()
        sock.sendall(post(head, b"/tokenize", body))
        time.sleep(0.1)
        sock.sendall(body)
        reader = HTTPResponse(sock)
        reader.begin()
        assert reader.status == 200
        reader.read()
        for part in (head[:5], head[5:], b"X: " + 10_000 * b"y", b"\r\n\r\n"):
            sock.sendall(part)
            time.sleep(0.1)
        assert b"200 OK" in sock.recv(4096)


def test_a_head_without_end_is_refused(server):
    """Also while the request before it is still being answered."""
    ask = json.dumps(GOOD | {"max_tokens": 4000, "stream": True}).encode()
    with ExitStack() as stack:
        sock, head = raw(stack, server)
        sock.sendall(head + b"X: " + HEAD * b"y")
        assert b"400 Bad Request" in closed(sock)
        sock, head = raw(stack, server)
        sock.sendall(post(head, b"/v1/completions", ask) + ask)
        assert b"200 OK" in sock.recv(200)
        sock.sendall(head + b"X: ")
        time.sleep(0.1)
        sock.sendall(2 * HEAD * b"y")
        assert not closed(sock).endswith(b"0\r\n\r\n")  # the end of its stream


def test_connections_without_a_request_are_counted(model):
    with running(served(model), max_requests=2) as server, ExitStack() as stack:

        def answered():
            sock, head = raw(stack, server)
            sock.sendall(head + b"Connection: close\r\n\r\n")
            return b"200 OK" in closed(sock)

        others = [raw(stack, server)[0] for _ in range(4)]
        assert answered()  # and the first of the others is closed
        assert closed(others[0]) == b""
        others[1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            others[1].recv(1)


def test_a_client_that_does_not_read_gives_its_place_back(model):
    """Its answer, a prompt's scores, is larger than the buffers between the two."""
    with running(served(model), max_requests=1, body_seconds=1.0) as server, ExitStack() as stack:
        ask = GOOD | {"prompt": [5] * 8000, "echo": True, "logprobs": 20, "stream": True}
        body = json.dumps(ask | {"max_tokens": 1}).encode()
        sock, head = raw(stack, server)
        sock.sendall(post(head, b"/v1/completions", body) + body)
        http = server.http()
        wait_for(lambda: http.get("/health").status_code == 429)
        wait_for(lambda: http.get("/health").status_code == 200)


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


@pytest.mark.parametrize("wrong", [None, [], [None], {}, "\ud800", 1.5, -1])
@pytest.mark.parametrize("kind", [CompletionRequest, ChatRequest, DetokenizeRequest])
def test_a_list_of_many_wrong_elements_has_few_errors(kind, wrong):
    """An error of each would take a gigabyte, and seconds in which nobody is answered."""
    many = [wrong] * 100
    for value in (many, [many], [1, *many], [{"role": "user", "content": many}]):
        for name in ("prompt", "stop", "tokens", "messages"):
            with pytest.raises(ValidationError) as found:
                kind.model_validate({name: value, "unknown": 1})
            assert found.value.error_count() < 12
    with pytest.raises(ValidationError, match="100 fields, and this one has 101") as found:
        kind.model_validate({str(n): wrong for n in range(101)})
    assert found.value.error_count() == 1


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
