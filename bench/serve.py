"""The server under load, through the official client: docs/howto/serve.md.

    python -m bench.serve
    python -m bench.serve --shape mamba2-130m

A server in a process of its own, and as many clients in this one. Every answer is compared with
what `generate` gives for the same prompt and seed. The results file keeps a row of each kind for
each model, number of threads and machine.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from bench.engine_files import our_file
from bench.stored import Row, keep
from lightmamba.common.errors import InputError
from lightmamba.common.tools import cache_folder
from lightmamba.facade import generate, load
from lightmamba.model.config import SHAPES
from lightmamba.model.data import austen, demo_file
from lightmamba.model.tokenizer import Tokenizer

PROMPT = 16  # tokens of a prompt under load
WARM = 0.8  # temperature of every second client; the others are greedy
Request = dict[str, Any]  # prompt and options, by the names that `generate` and the API have
LONG = 1024  # tokens of a prompt that the prefix cache is measured with


def tokenizer_file(size: int) -> Path:
    """A tokenizer of single bytes and numbered words, for models of random weights."""
    path = cache_folder("bench") / f"words-{size}.json"
    words = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words += [f"Ġword{n}" for n in range(size - len(words))]
    made = Library(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.save(str(path))
    return path


@contextmanager
def server(file: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Serve a file while the block runs; the URL, and the number of the process."""
    words = [sys.executable, "-m", "lightmamba", "serve", str(file), "--port", "0",
             "--name", "bench", *options]  # fmt: skip
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            errors.seek(0)
            raise InputError(f"the server did not start: {errors.read()}")
        try:
            yield url, process.pid
        finally:
            process.terminate()


async def ask(client: Any, request: Request, *, stream: bool) -> str:
    """The text of one answer."""
    found = await client.completions.create(model="bench", stream=stream, **request)
    if not stream:
        return str(found.choices[0].text)
    return "".join([choice.text async for chunk in found for choice in chunk.choices])


async def loaded(
    url: str, requests: list[Request], *, stream: bool, rounds: int
) -> tuple[list[float], list[float], list[list[str]]]:
    """Rates of one client alone and of all together, by round, and the texts of all."""
    clients = [
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600)
        for _ in requests
    ]
    await asyncio.gather(*(client.models.list() for client in clients))  # connected
    alone, together, texts = [], [], []
    each, tokens = list(zip(clients, requests, strict=True)), requests[0]["max_tokens"]
    few = each[:10]
    for _ in range(rounds):
        start = time.perf_counter()
        for client, request in few:
            await ask(client, request, stream=stream)
        alone.append(len(few) * tokens / (time.perf_counter() - start))
        start = time.perf_counter()
        found = await asyncio.gather(
            *(ask(client, request, stream=stream) for client, request in each),
            return_exceptions=True,
        )
        together.append(len(each) * tokens / (time.perf_counter() - start))
        texts.append([text if isinstance(text, str) else "" for text in found])
    for client in clients:
        await client.close()
    return alone, together, texts


def passages(tokenizer: Tokenizer, tokens: int, count: int, seed: int) -> list[str]:
    """Texts of about ``tokens`` tokens, from anywhere in the novels that the package ships.

    Texts, for the client takes many times as long for a list of ids as the server for all of it.
    """
    ids = tokenizer.encode(austen()[2])
    starts = np.random.default_rng(seed).integers(len(ids) - tokens, size=count)
    return [tokenizer.decode(ids[at : at + tokens].tolist()) for at in starts]


def first_token(client: openai.OpenAI, prompt: str) -> float:
    """Seconds from the request to the first text."""
    start = time.perf_counter()
    chunks = client.completions.create(
        model="bench", prompt=prompt, max_tokens=4, temperature=0, stream=True
    )
    with chunks:
        for chunk in chunks:
            if chunk.choices:
                return time.perf_counter() - start
    raise InputError("an answer had no text")


def prefixes(url: str, tokenizer: Tokenizer, rounds: int) -> dict[str, Any]:
    """Time to the first token of prompts that are new, and of the same ones again."""
    miss, hit = [], []
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        first_token(client, "Warm")
        for prompt in passages(tokenizer, LONG, rounds, 1):
            miss.append(first_token(client, prompt))
            hit.append(min(first_token(client, prompt) for _ in range(3)))
    return {"tokens": LONG, "miss": miss, "hit": hit}


def measure(file: Path, name: str, args: argparse.Namespace) -> list[Row]:
    """All rows of one model."""
    model = load(file, threads=args.threads)
    tokenizer = model.tokenizer
    requests: list[Request] = [
        {"prompt": prompt, "max_tokens": args.tokens, "seed": n, "temperature": WARM * (n % 2)}
        for n, prompt in enumerate(passages(tokenizer, PROMPT, args.clients, 0))
    ]
    rows, texts = list[Row](), [generate(model, **request) for request in requests]
    with server(file, "--threads", str(args.threads)) as (url, _):
        for stream in (False, True):
            alone, together, found = asyncio.run(
                loaded(url, requests, stream=stream, rounds=args.rounds)
            )
            equal = min(sum(a == b for a, b in zip(texts, each, strict=True)) for each in found)
            rows.append({
                "kind": "load", "model": name, "threads": args.threads, "stream": stream,
                "clients": args.clients, "tokens": args.tokens, "equal": equal,
                "alone": alone, "together": together,
            })  # fmt: skip
        found_ = prefixes(url, tokenizer, args.rounds)
    rows.append({"kind": "prefix", "model": name, "threads": args.threads, "stream": True} | found_)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs="*", default=[], choices=list(SHAPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print, and keep nothing")
    args = parser.parse_args()
    files = [("bundled", demo_file())]
    for shape in args.shape:
        files.append((shape, our_file(shape, tokenizer_file(SHAPES[shape].vocab_size - 11))))
    for name, file in files:
        keep("serve", *measure(file, name, args), dry=args.dry)


if __name__ == "__main__":
    main()
