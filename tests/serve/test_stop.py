"""The program itself: it starts, says where it listens, and stops as it is told."""

import asyncio
import json
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


@contextmanager
def started(
    *options: str, json_too: bool = False
) -> Iterator[tuple[httpx2.Client, subprocess.Popen[str]]]:
    """Serve the bundled model while the block runs; a client, and the process."""
    words = [sys.executable, "-m", "lightmamba", "serve", str(demo_file()), "--port", "0",
             "--threads", "1", *options]  # fmt: skip
    with subprocess.Popen(
        words + ["--json"] * json_too, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stderr.readline() if json_too else process.stdout.readline()
            url = next(word for word in line.split() if word.startswith("http")).rstrip(";")
            with httpx2.Client(base_url=url, timeout=60) as http:
                wait_for(lambda: _answers(http))
                yield http, process
        finally:
            process.kill()


def _answers(http: httpx2.Client) -> bool:
    try:
        return http.get("/health").status_code == 200
    except httpx2.TransportError:
        return False


def ask(http: httpx2.Client, tokens: int) -> Any:
    body = {"prompt": "It was", "max_tokens": tokens, "seed": 1, "temperature": 1}
    return http.post("/v1/completions", json=body)


def stopped(pool: Any, http: httpx2.Client, process: Any, tokens: int, sign: int) -> Any:
    """The answer to come of a request that runs when the process gets a signal."""
    long = pool.submit(ask, http, tokens)
    wait_for(lambda: http.get("/health").json()["running"] == 1)
    process.send_signal(sign)
    return long


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
    with started(json_too=True) as (http, process), ThreadPoolExecutor() as pool:
        long = stopped(pool, http, process, 700, signal.SIGTERM)
        try:
            refused = ask(http, 4).status_code
        except httpx2.TransportError:
            refused = 503
        assert refused == 503
        text = long.result().json()["choices"][0]["text"]
        http.close()
        out, err = process.communicate(timeout=20)
    assert text == expected(model, "It was", 700, seed=1, temperature=1).text
    assert process.returncode == 0, err
    said = json.loads(out)
    assert said.keys() >= {"url", "model", "device", "requests", "generated_tokens", "seconds"}
    assert (said["model"], said["device"]) == ("demo-w4a4", "engine")
    assert said["generated_tokens"] == 700
    assert "Traceback" not in err


def test_after_its_grace_a_request_is_ended(model):
    with started("--grace-seconds", "0.2") as (http, process), ThreadPoolExecutor() as pool:
        answer = stopped(pool, http, process, 4096, signal.SIGINT).result()
        http.close()
        _, err = process.communicate(timeout=20)
    assert answer.status_code == 503
    assert "the server is stopping" in answer.json()["error"]["message"]
    assert process.returncode == 0, err
    assert "Traceback" not in err
