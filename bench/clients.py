"""The server under mixed clients for an hour.

    python -m bench.clients [--minutes 60] [--clients 100]

Clients of all kinds ask a server in a process of its own, at the same time: some read a whole
answer, some a stream, some slowly; some go away in the middle or before the answer; some send what
is no request. Every answer that was read is compared with what `generate` gives for the same prompt
and seed. The row has how often each happened, how many answers were other ones, and the memory of
the server after five minutes, when its prefix cache is full, and at the end. A run of less than ten
minutes is not kept.
"""

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from tqdm import tqdm

from bench.engine_serve import memory
from bench.serve import Request, passages, server
from bench.stored import keep
from lightmamba.facade import generate, load
from lightmamba.model.data import BUNDLED, demo_file

REQUESTS = 200  # that are asked again and again
PROMPTS = (1, 8, 40, 200, 600)  # tokens, about
TOKENS = (1, 16, 64, 128)
WARM, LEAST = 5.0, 10.0  # minutes: when memory is measured first; of a run that is kept
CACHE = 64  # MB of the prefix cache
SLOW = 0.3  # seconds that a slow client waits between two pieces
MALFORMED = (
    b"", b"{", b"[]", b'{"prompt": 1e999}', b'{"prompt": "a", "model": "bench", "tools": [1]}',
    b'{"prompt": "a", "model": "other"}', b'{"prompt": "a", "model": "bench", "max_tokens": -1}',
    b'{"prompt": ["a", 1], "model": "bench"}', b"\xff\xfe",
    b'{"prompt": "' + b"a" * 300_000 + b'"}',
)  # fmt: skip
PATH, NAME = "/v1/completions", "bench"  # of the model, as bench.serve names it


class Clients:
    """Clients of one server, whose answers are known.

    Parameters
    ----------
    url : str
    requests : list of dict
    texts : list of str
        Their answers.

    Attributes
    ----------
    done : {event: int}
        How often each kind of client was there, and ``other`` for answers that are not theirs.
    first : str
        The first such answer, with its request; else empty.
    """

    def __init__(self, url: str, requests: list[Request], texts: list[str]) -> None:
        self.url, self.asked, self.first = url, list(zip(requests, texts, strict=True)), ""
        self.done = Counter[str]()
        self.kinds: dict[str, tuple[float, Callable[..., Awaitable[None]]]] = {
            "whole": (0.3, self._whole), "streamed": (0.3, self._streamed),
            "slow": (0.1, self._slow), "left": (0.1, self._left), "gone": (0.1, self._gone),
            "malformed": (0.1, self._malformed),
        }  # fmt: skip

    async def run(self, number: int, end: float) -> None:
        """Be one client after the other, until the end."""
        rng = random.Random(number)
        chances = [chance for chance, _ in self.kinds.values()]
        async with self.connected() as http:
            while time.monotonic() < end:
                (name,) = rng.choices(list(self.kinds), chances)
                await self.once(http, rng, name)

    def connected(self) -> httpx2.AsyncClient:
        """A connection to the server."""
        return httpx2.AsyncClient(base_url=self.url, timeout=600)

    async def once(self, http: httpx2.AsyncClient, rng: random.Random, kind: str) -> None:
        """Be one client of a kind."""
        try:
            await self.kinds[kind][1](http, rng)
        except (httpx2.HTTPError, LookupError, ValueError) as error:  # none, or in another form
            self._count(f"a {kind} client had no answer: {error!r}")
        self.done[kind] += 1

    def _count(self, why: str) -> None:
        """Count an answer that is another one."""
        self.done["other"] += 1
        self.first = self.first or why

    def _compare(self, request: Request, wanted: str, found: str) -> None:
        if found != wanted:
            self._count(f"{request} gave {found!r}, not {wanted!r}")

    async def _whole(self, http: httpx2.AsyncClient, rng: random.Random) -> None:
        request, wanted = rng.choice(self.asked)
        found = await http.post(PATH, json={"model": NAME, **request})
        text = found.json()["choices"][0]["text"] if found.status_code == 200 else found.text
        self._compare(request, wanted, text)

    async def _streamed(
        self, http: httpx2.AsyncClient, rng: random.Random, pause: float = 0.0
    ) -> None:
        request, wanted = rng.choice(self.asked)
        text = ""
        async for piece in pieces(http, request):
            text += piece
            await asyncio.sleep(pause)
        self._compare(request, wanted, text)

    async def _slow(self, http: httpx2.AsyncClient, rng: random.Random) -> None:
        await self._streamed(http, rng, SLOW * rng.random())

    async def _left(self, http: httpx2.AsyncClient, rng: random.Random) -> None:
        request, _ = rng.choice(self.asked)
        left = rng.randrange(1, 10)
        async for _ in pieces(http, request | {"max_tokens": 1000}):
            if (left := left - 1) == 0:
                return

    async def _gone(self, http: httpx2.AsyncClient, rng: random.Random) -> None:
        request, _ = rng.choice(self.asked)
        body = {"model": NAME, **request, "max_tokens": 1000}
        try:
            await http.post(PATH, json=body, timeout=rng.random())
        except httpx2.TimeoutException:
            return

    async def _malformed(self, http: httpx2.AsyncClient, rng: random.Random) -> None:
        body = rng.choice(MALFORMED)
        found = await http.post(PATH, content=body)
        sentence = found.json().get("error", {}).get("message", "")
        if not 400 <= found.status_code < 500 or not sentence:
            self._count(f"{body[:80]!r} gave {found.status_code}: {found.text[:200]}")


async def pieces(http: httpx2.AsyncClient, request: Request) -> Any:
    """Pieces of the text of an answer, as they come; an error is one too."""
    body = {"model": NAME, "stream": True, **request}
    async with http.stream("POST", PATH, json=body) as found:
        async for line in found.aiter_lines():
            data = line.removeprefix("data: ")
            if not data or data == "[DONE]":
                continue
            event = json.loads(data)
            yield event["choices"][0]["text"] if event.get("choices") else data


async def measure(clients: Clients, process: int, count: int, minutes: float) -> list[float]:
    """Let clients ask; the server's memory when it is warm and at the end."""
    begin = time.monotonic()

    def mib() -> float:
        return memory(process)["resident"] / (1 << 20)

    end, found = begin + 60 * minutes, list[float]()
    asking = asyncio.gather(*(clients.run(number, end) for number in range(count)))
    with tqdm(total=round(60 * minutes), unit=" s") as bar:
        while not asking.done():
            await asyncio.wait([asking], timeout=5)
            now = time.monotonic() - begin
            bar.update(round(min(now, 60 * minutes)) - bar.n)
            bar.set_postfix(MiB=round(mib()), other=clients.done["other"])
            if not found and now >= min(60 * WARM, 30 * minutes):
                found.append(mib())
    await asking
    return [*found, mib()]


def questions(model: Any) -> list[Request]:
    """Requests of all lengths."""
    rng = random.Random(0)
    prompts = {size: passages(model.tokenizer, size, REQUESTS, size) for size in PROMPTS}
    return [
        {
            "prompt": prompts[rng.choice(PROMPTS)][n], "max_tokens": rng.choice(TOKENS), "seed": n,
            "temperature": rng.choice((0, 0.8)),
        }
        for n in range(REQUESTS)
    ]  # fmt: skip


def main() -> None:
    """Serve the bundled model to clients, and keep a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--clients", type=int, default=100, help="at the same time (100)")
    parser.add_argument("--threads", type=int, default=2, help="of the server (2)")
    args = parser.parse_args()
    model = load(demo_file(), threads=args.threads)
    requests = questions(model)
    texts = [generate(model, **request) for request in tqdm(requests, desc="answers")]
    options = ("--threads", str(args.threads), "--cache-mb", str(CACHE))
    with server(demo_file(), *options) as (url, process):
        clients = Clients(url, requests, texts)
        found = asyncio.run(measure(clients, process, args.clients, args.minutes))
        health = httpx2.get(f"{url}/health").json()
    counts = {name: clients.done[name] for name in (*clients.kinds, "other")}
    row = {"model": BUNDLED, "threads": args.threads, "clients": args.clients,
           "minutes": args.minutes, **counts, "mib": found}  # fmt: skip
    keep("clients", row, dry=args.minutes < LEAST)
    print(health)
    if clients.first:
        raise SystemExit(clients.first)


if __name__ == "__main__":
    main()
