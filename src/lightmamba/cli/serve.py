"""``lightmamba serve``."""

import argparse
import time
from pathlib import Path
from typing import Any

from lightmamba.cli.devices import check_device_flags
from lightmamba.cli.hub import quantized_file
from lightmamba.cli.options import at_least
from lightmamba.cli.show import access_log, note, say, working
from lightmamba.common.errors import InputError
from lightmamba.device.host.devices import parse_options
from lightmamba.serve import bound, open_served, serve
from lightmamba.serve.settings import Settings, read_key

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
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
        cache_bytes=args.cache_mb << 20, page=not args.no_page,
    )  # fmt: skip

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
