"""``lightmamba simulate``: the accelerator in Verilator, compared with the engine."""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightmamba.cli.models import prompt_ids
from lightmamba.cli.options import at_least
from lightmamba.cli.results import check_results, keep_result
from lightmamba.cli.show import fields, progress, say, shares, table, working
from lightmamba.common.errors import InputError
from lightmamba.common.files import check_output
from lightmamba.device.sim import Opened, Simulation, check_room, open_golden, simulate
from lightmamba.hardware.compiler import open_model, read_build
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.model.tokenizer import Tokenizer

__all__ = ["run", "simulated"]

MOST_CHAINED = 1 << 31  # two chains are run, the longer one of twice as many tokens, in 32 bits


def run(args: argparse.Namespace) -> dict[str, Any]:
    at_least(args, max_tokens=(1, 8))
    if not 0 <= args.chain < MOST_CHAINED:
        raise InputError(f"--chain must be 0 to {MOST_CHAINED - 1}, not {args.chain}; try 4")
    check_results(args.results)
    artifact = read_build(Path(args.build))
    traces = {} if args.memory_trace is None else _traces(args.memory_trace, artifact)
    if args.results and not artifact.arch.counters:
        raise InputError(
            f"{args.build} has no counters, so there is nothing for --results to keep of its "
            f"cycles; compile for a target with counters = true"
        )
    for file in (args.waves, *traces.values()):
        if file:
            check_output(file, force=args.force)
    model = open_model(artifact)
    tokenizer = None if model.tokenizer is None else Tokenizer.from_bytes(model.tokenizer)
    ids = prompt_ids(args.prompt, args.prompt_ids, tokenizer, model.valid_vocab)
    total = len(ids) + args.max_tokens - 1
    check_room(artifact, total, args.chain)
    start = time.perf_counter()
    with working("building the simulator (a minute or two, the first time)"):
        opened = open_golden(
            args.build, waves=args.waves, stalls=args.stalls, seed=args.seed,
            cache=args.cache, model=model,
        )  # fmt: skip
    built = time.perf_counter() - start
    opened.device.trace_memory(traces)
    watch = args.results is not None
    found, seconds = simulated(opened, ids, total, chain=args.chain, watch=watch)
    found = replace(found, memory_stalls=args.stalls)
    result: dict[str, Any] = found.to_dict() | {
        "simulated_cycles_per_second": found.cycles / seconds,
        "build_seconds": built,
    }
    of = {"target": found.machine["target"], "hardware and model": found.machine}
    keep_result(args.results, "simulation", of, result, "simulated")
    result.pop("activity", None)
    if traces:
        result["memory_trace"] = {channel: str(file) for channel, file in traces.items()}
    if not found.matches_engine:
        result["exit_status"] = 1
    if found.stalls:
        table(f"{found.cycles:,} cycles of {found.tokens} tokens", ("", "cycles", "%"),
              shares(found.stalls, found.cycles))  # fmt: skip
    shown = {k: result[k] for k in ("cycles_per_token", "simulated_cycles_per_second")}
    fields("simulated", shown)
    made = found.token_ids
    say(" ".join(map(str, made)) if tokenizer is None else tokenizer.decode(made))
    verdict = "every intermediate value of every token equals the engine's"
    failed = found.difference
    say(verdict if failed is None else f"hardware and engine differ: {failed}")
    return result


def simulated(
    opened: Opened, ids: list[int], total: int, *, chain: int = 0, watch: bool = False
) -> tuple[Simulation, float]:
    """Simulate tokens, then a chain of others if they match, and close the simulator.

    Returns
    -------
    The result, and the seconds that the first ones took.
    """
    start = time.perf_counter()
    with progress("simulating tokens") as bar:
        found = simulate(opened, ids, total, watch=watch, progress=bar)
    seconds = time.perf_counter() - start
    if chain and found.matches_engine:
        with working("simulating chained tokens"):
            found = found.with_chain(opened.device, chain)
    opened.device.simulator.close()
    return found, seconds


def _traces(file: Path, artifact: Artifact) -> dict[str, Path]:
    """File of each channel: the one given, with the channel's name where there are several."""
    names = [channel.name for channel in artifact.target.channels]
    if len(names) == 1:
        return {names[0]: file}
    return {name: file.with_name(f"{file.stem}.{name}{file.suffix}") for name in names}
