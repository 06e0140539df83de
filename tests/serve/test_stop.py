"""The program itself: it starts, says where it listens, and stops as it is told."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2

from lightmamba.model.data import demo_file
from lightmamba.serve import Settings, create_app
from tests.serve.running import expected, served, wait_for


class Process:
    """A server in a process of its own, and a client of it."""

    def __init__(self, inner: subprocess.Popen[str], http: httpx2.Client) -> None:
        self.inner, self.http, self.pid = inner, http, inner.pid


@contextmanager
def started(*options: str, json_too: bool = False) -> Iterator[tuple[str, Process]]:
    """Serve the bundled model while the block runs; its URL and process."""
    words = [sys.executable, "-m", "lightmamba", "serve", str(demo_file()), "--port", "0",
             "--threads", "1", *options]  # fmt: skip
    with subprocess.Popen(
        words + ["--json"] * json_too, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as inner, httpx2.Client(timeout=60) as http:  # fmt: skip
        try:
            assert inner.stdout is not None
            assert inner.stderr is not None
            line = inner.stderr.readline() if json_too else inner.stdout.readline()
            url = next(word for word in line.split() if word.startswith("http")).rstrip(";")
            wait_for(lambda: _answers(http, url))
            yield url, Process(inner, http)
        finally:
            inner.kill()


def _answers(http: httpx2.Client, url: str) -> bool:
    try:
        return http.get(f"{url}/health").status_code == 200
    except httpx2.TransportError:
        return False


def ask(http: httpx2.Client, url: str, tokens: int) -> Any:
    body = {"prompt": "It was", "max_tokens": tokens, "seed": 1, "temperature": 1}
    return http.post(f"{url}/v1/completions", json=body)


def running(http: httpx2.Client, url: str) -> int:
    found: int = http.get(f"{url}/health").json()["running"]
    return found


def test_the_event_loop_goes_on_while_the_last_pass_ends(model):
    """Clients are told that the server stops; a pass takes up to seconds."""
    app, went_on = create_app(served(model), Settings()), threading.Event()
    found: list[bool] = []

    async def inside() -> None:
        async with app.router.lifespan_context(app):
            close = app.state.scheduler.close

            def slow() -> None:
                found.append(went_on.wait(5))
                close()

            app.state.scheduler.close = slow
            asyncio.get_running_loop().call_later(0.05, went_on.set)

    asyncio.run(inside())
    assert found == [True]


def test_a_running_request_is_finished_and_a_new_one_refused(model):
    with started(json_too=True) as (url, process), ThreadPoolExecutor() as pool:
        with httpx2.Client(timeout=60) as other:
            long = pool.submit(ask, other, url, 700)
            wait_for(lambda: running(process.http, url) == 1)
            os.kill(process.pid, signal.SIGTERM)
            try:
                refused = ask(process.http, url, 4).status_code
            except httpx2.TransportError:
                refused = 503
            assert refused == 503
            answer = long.result().json()
        out, err = process.inner.communicate(timeout=20)
    assert (
        answer["choices"][0]["text"] == expected(model, "It was", 700, seed=1, temperature=1).text
    )
    assert process.inner.returncode == 0, err
    said = json.loads(out)
    assert said.keys() >= {"url", "model", "device", "requests", "generated_tokens", "seconds"}
    assert (said["model"], said["device"]) == ("demo-w4a4", "engine")
    assert said["generated_tokens"] == 700
    assert "Traceback" not in err


def test_after_its_grace_a_request_is_ended(model):
    with started("--grace-seconds", "0.2") as (url, process), ThreadPoolExecutor() as pool:
        with httpx2.Client(timeout=60) as other:
            long = pool.submit(ask, other, url, 4096)
            wait_for(lambda: running(process.http, url) == 1)
            process.inner.send_signal(signal.SIGINT)
            answer = long.result()
        _, err = process.inner.communicate(timeout=20)
    assert answer.status_code == 503
    assert "the server is stopping" in answer.json()["error"]["message"]
    assert process.inner.returncode == 0, err
    assert "Traceback" not in err
