"""``lightmamba serve``."""

import argparse
import time
from pathlib import Path
from typing import Any

from lightmamba.cli.devices import add_device
from lightmamba.cli.options import at_least

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE or BUILD",
                        help="quantized model, bundled, hub id, or a build")  # fmt: skip
    add_device(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port; 0: any free one (default: 8000)"
    )
    parser.add_argument("--name", help="model name in the API (default: that of the file)")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE",
                        help="key that clients must send; or set LIGHTMAMBA_API_KEY")  # fmt: skip
    parser.add_argument("--slots", type=int,
                        help="maximum sequences per batch (default: 128, or what fits in "
                             "--memory-mb; on a device, what it takes in a pass)")  # fmt: skip
    parser.add_argument("--memory-mb", type=int, default=1024, metavar="MB",
                        help="memory of all running sequences (default: 1024)")  # fmt: skip
    parser.add_argument("--queue", type=int, default=256,
                        help="sequences that may wait, else status 429 (default: 256)")  # fmt: skip
    parser.add_argument(
        "--max-tokens", type=int, default=4096, help="most tokens of a completion (default: 4096)"
    )
    parser.add_argument(
        "--max-prompt", type=int, default=32768, help="most tokens of a prompt (default: 32768)"
    )
    parser.add_argument(
        "--max-body", type=int, default=1 << 20, help="largest request in bytes (default: 1 MiB)"
    )
    parser.add_argument(
        "--max-requests", type=int, default=1024, help="most requests at a time (default: 1024)"
    )
    parser.add_argument("--request-seconds", type=float, default=600.0,
                        help="timeout of a request (default: 600)")  # fmt: skip
    parser.add_argument("--grace-seconds", type=float, default=30.0,
                        help="for running requests after Ctrl+C (default: 30)")  # fmt: skip
    parser.add_argument("--cache-mb", type=int, default=256,
                        help="memory of the prefix cache, 0 for none (default: 256)")  # fmt: skip
    parser.add_argument("--speculate", metavar="ngram|MODEL",
                        help="draft tokens from repeated text, or with a smaller model, and "
                             "verify several per pass: same answers, faster")  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.devices import check_device_flags
    from lightmamba.cli.hub import quantized_file
    from lightmamba.cli.show import access_log, note, say, working
    from lightmamba.common.errors import InputError
    from lightmamba.device.host.devices import parse_options
    from lightmamba.serve.settings import Settings, read_key

    if args.record is not None:
        raise InputError("--record is for one text; try: lightmamba generate BUILD --record FILE")
    check_device_flags(args)
    if args.name == "":
        raise InputError("--name must not be empty; leave it out for the name of the file")
    at_least(args, slots=(1, 8), memory_mb=(1, 1024))
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
        say(url)

    with bound(settings) as sock:
        path = Path(quantized_file(args.file, args.threads, args.device))
        name = args.name or (args.file if str(path) != args.file else None)
        with working(f"opening {args.file}"):
            served = open_served(
                path, device=args.device, options=parse_options(args.device_option),
                threads=args.threads, slots=args.slots, name=name,
                memory=args.memory_mb << 20, speculate=args.speculate,
            )  # fmt: skip
        start = time.monotonic()
        with access_log():
            counts = serve(served, settings, sock, ready)
    return {**found, **counts, "seconds": time.monotonic() - start}
