"""``lightmamba simulate``: the gates in Verilator against the engine."""

import argparse
import time
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("build", metavar="BUILD", help="folder that compile made")
    parser.add_argument("--max-tokens", type=int, default=8, help="tokens to generate (8)")
    parser.add_argument("--prompt", help="text to go on from")
    parser.add_argument("--prompt-ids", metavar='"1 2 3"', help="token ids instead (0)")
    parser.add_argument("--waves", type=Path, metavar="FILE", help="write an FST of all signals")
    parser.add_argument("--stalls", type=float, default=0.0, help="random memory stalls, 0 to 0.9")
    parser.add_argument("--seed", type=int, default=0, help="of the stalls (0)")
    parser.add_argument("--cache", type=Path, help="where compiled simulators are kept")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.arch.counters import CYCLES
    from lightmamba.cli.models import prompt_ids
    from lightmamba.cli.show import console, fields, progress, table, working
    from lightmamba.errors import InputError
    from lightmamba.runtime.device import DeviceError
    from lightmamba.sim import TwinStep, open_twin
    from lightmamba.tokenizer import Tokenizer

    if args.max_tokens < 1:
        raise InputError(f"--max-tokens must be at least 1, not {args.max_tokens}; try 8")
    start = time.perf_counter()
    with working("building the simulator (a minute or two, the first time)"):
        opened = open_twin(
            Path(args.build), waves=args.waves, stalls=args.stalls, seed=args.seed,
            cache=args.cache,
        )  # fmt: skip
    built = time.perf_counter() - start
    twin, data = opened.twin, opened.model.tokenizer
    tokenizer = None if data is None else Tokenizer.from_bytes(data)
    ids = prompt_ids(args.prompt, args.prompt_ids, tokenizer, twin.engine.valid_vocab)
    total = len(ids) + args.max_tokens - 1
    steps: list[TwinStep] = []
    failed: str | None = None
    start = time.perf_counter()
    with progress("tokens in gates") as bar:
        try:
            for step in twin.run(ids, total):
                steps.append(step)
                bar(len(steps), total)
        except DeviceError as error:
            failed = f"token {len(steps)}: {error}"
    if steps and (difference := steps[-1].difference) is not None:
        cycle = steps[-1].cycle
        where = "" if cycle is None else f" (cycle {cycle:,})"
        failed = f"{difference}{where}; here is the engine, there the gates"
    seconds = time.perf_counter() - start
    opened.device.simulator.close()
    cycles = sum(step.cycles for step in steps)
    token_ids = [s.next_token for s in steps if s.next_token >= 0 and s.difference is None]
    with_head = [step for step in steps if step.next_token >= 0] or steps
    counted = {k: sum(step.counters[k] for step in steps) for k in twin.names}
    stalls = {name: counted[name] for name in CYCLES}
    result: dict[str, Any] = {
        "token_ids": token_ids,
        "matches_engine": failed is None,
        "tokens": len(steps),
        "cycles_per_token": sum(s.cycles for s in with_head) / max(1, len(with_head)),
        "stalls": stalls,
        "counters": counted,
        "simulated_cycles_per_second": cycles / seconds,
        "build_seconds": built,
    }
    if failed is not None:
        result["difference"] = failed
        result["exit_status"] = 1
    if not args.json:
        rows = [(name.replace("_", " "), n, 100 * n / max(1, cycles)) for name, n in stalls.items()]
        table(f"{cycles:,} cycles of {len(steps)} tokens", ("", "cycles", "%"), rows)
        shown = {k: result[k] for k in ("cycles_per_token", "simulated_cycles_per_second")}
        fields("simulated", shown)
        if tokenizer is not None:
            print(tokenizer.decode(token_ids))
        else:
            print(*token_ids)
        verdict = "every observable of every token equals the engine's"
        console.print(verdict if failed is None else f"the gates differ: {failed}")
    return result
