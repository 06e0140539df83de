"""``lightmamba serve``."""

import argparse
import time
from pathlib import Path
from typing import Any

from lightmamba.cli.devices import add_device
from lightmamba.cli.models import bundled_file

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=bundled_file, metavar="FILE or BUILD",
                        help="quantized model, bundled, or a build")  # fmt: skip
    add_device(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (8000)")
    parser.add_argument("--name", help="the model's name for clients (that of the file)")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE",
                        help="key that clients must send; or set LIGHTMAMBA_API_KEY")  # fmt: skip
    parser.add_argument("--slots", type=int, help="sequences computed together (128, or as memory "
                             "allows; on a device, as many as it takes in a pass)")  # fmt: skip
    parser.add_argument("--memory-mb", type=int, default=1024, metavar="MB",
                        help="memory of all sequences that run (1024)")  # fmt: skip
    parser.add_argument("--queue", type=int, default=256,
                        help="sequences that may wait, before 429 (256)")  # fmt: skip
    parser.add_argument("--max-tokens", type=int, default=4096, help="per choice (4096)")
    parser.add_argument("--max-prompt", type=int, default=32768, help="tokens (32768)")
    parser.add_argument("--max-body", type=int, default=1 << 20, help="bytes of a request (1 MiB)")
    parser.add_argument("--max-requests", type=int, default=1024, help="at a time (1024)")
    parser.add_argument("--request-seconds", type=float, default=600.0,
                        help="until the last token (600)")  # fmt: skip
    parser.add_argument("--grace-seconds", type=float, default=30.0,
                        help="for running requests at the end (30)")  # fmt: skip
    parser.add_argument("--cache-mb", type=int, default=256,
                        help="memory of the prefix cache, 0 for none (256)")  # fmt: skip
    parser.add_argument("--speculate", metavar="ngram|MODEL",
                        help="guess tokens, and check several in a pass: the same answers, "
                             "sooner")  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.show import note, working
    from lightmamba.errors import InputError
    from lightmamba.runtime.devices import parse_options
    from lightmamba.serve.settings import Settings, read_key

    if args.record is not None:
        raise InputError("--record is for one text; try: lightmamba generate BUILD --record FILE")
    if args.slots is not None and args.slots < 1:
        raise InputError(f"--slots must be at least 1, not {args.slots}")
    if args.memory_mb < 1:
        raise InputError(f"--memory-mb must be at least 1, not {args.memory_mb}; try 1024")
    settings = Settings(
        host=args.host, port=args.port, api_key=read_key(args.api_key_file), queue=args.queue,
        max_tokens=args.max_tokens, max_prompt=args.max_prompt, max_body=args.max_body,
        max_requests=args.max_requests,
        request_seconds=args.request_seconds, grace_seconds=args.grace_seconds,
        cache_bytes=args.cache_mb << 20,
    )  # fmt: skip

    from lightmamba.serve import bound, open_served, serve

    found = {"url": "", "model": "", "device": args.device}

    def ready(url: str) -> None:
        found["url"], found["model"] = url, served.name
        note(f"{served.name} on {args.device} at {url}; stop with Ctrl+C")
        if not args.json:
            print(url, flush=True)

    with bound(settings) as sock:
        with working(f"opening {args.file}"):
            served = open_served(
                Path(args.file), device=args.device, options=parse_options(args.device_option),
                threads=args.threads, slots=args.slots, name=args.name,
                memory=args.memory_mb << 20,
                speculate=None if args.speculate is None else bundled_file(args.speculate),
            )  # fmt: skip
        start = time.monotonic()
        counts = serve(served, settings, sock, ready)
    return {**found, **counts, "seconds": time.monotonic() - start}
