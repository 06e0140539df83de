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
    from lightmamba.cli.models import prompt_ids
    from lightmamba.cli.show import console, fields, progress, table
    from lightmamba.sim import open_twin

    if args.max_tokens < 1:
        from lightmamba.errors import InputError

        raise InputError(f"--max-tokens must be at least 1, not {args.max_tokens}; try 8")
    start = time.perf_counter()
    with progress("building the simulator") as bar:
        opened = open_twin(
            Path(args.build), waves=args.waves, stalls=args.stalls, seed=args.seed,
            cache=args.cache, progress=bar,
        )  # fmt: skip
    built = time.perf_counter() - start
    twin = opened.twin
    ids = prompt_ids(args.prompt, args.prompt_ids, opened.tokenizer, twin.engine.valid_vocab)
    total = len(ids) + args.max_tokens - 1
    steps, token_ids, start = [], [], time.perf_counter()
    with progress("tokens in gates") as bar:
        for n in range(total):
            token = int(ids[n]) if n < len(ids) else token_ids[-1]
            step = twin.step(token, head=n >= len(ids) - 1)
            steps.append(step)
            bar(n + 1, total)
            if step.difference is not None:
                break
            if n >= len(ids) - 1:
                token_ids.append(step.next_token)
    seconds = time.perf_counter() - start
    last, cycles = steps[-1], sum(step.cycles for step in steps)
    stalls = {name: sum(step.stalls[name] for step in steps) for name in last.stalls}
    with_head = [step for step in steps if step.next_token >= 0] or steps
    result: dict[str, Any] = {
        "token_ids": token_ids,
        "matches_engine": last.difference is None,
        "tokens": len(steps),
        "cycles_per_token": sum(step.cycles for step in with_head) / len(with_head),
        "stalls": stalls,
        "counters": {k: sum(step.counters[k] for step in steps) for k in last.counters},
        "simulated_cycles_per_second": cycles / seconds,
        "build_seconds": built,
    }
    if last.difference is not None:
        result["difference"] = str(last.difference)
        result["cycle"] = last.cycle
    if not args.json:
        rows = [(name.replace("_", " "), n, 100 * n / cycles) for name, n in stalls.items()]
        table(f"{cycles:,} cycles of {len(steps)} tokens", ("", "cycles", "%"), rows)
        shown = {k: result[k] for k in ("cycles_per_token", "simulated_cycles_per_second")}
        fields("simulated", shown)
        if opened.tokenizer is not None:
            print(opened.tokenizer.decode(token_ids))
        else:
            print(*token_ids)
        where = "" if last.cycle is None else f" (cycle {last.cycle:,})"
        verdict = "every observable equals the engine's"
        if last.difference is not None:
            verdict = f"the gates differ: {last.difference}{where}; here is the engine"
        console.print(verdict)
    if last.difference is not None:
        result["exit_status"] = 1
    return result
