"""``lightmamba simulate``: the accelerator in Verilator, compared with the engine."""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.cli.options import at_least
from lightmamba.cli.results import add_results, check_results, keep_result

if TYPE_CHECKING:
    from lightmamba.device.sim import Opened, Simulation

__all__ = ["add_arguments", "run", "simulated"]

MOST_CHAINED = 1 << 31  # two chains are run, the longer one of twice as many tokens, in 32 bits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("build", metavar="BUILD", help="folder that compile made")
    parser.add_argument("--max-tokens", type=int, default=8, help="tokens to generate (default: 8)")
    parser.add_argument("--prompt", help="text to continue")
    parser.add_argument(
        "--prompt-ids", metavar='"1 2 3"', help="token ids in place of text (default: 0)"
    )
    parser.add_argument(
        "--chain",
        type=int,
        default=0,
        metavar="N",
        help="then N tokens chained on the device, for cycles per token (default: 0)",
    )
    parser.add_argument("--waves", type=Path, metavar="FILE", help="write all signals as an FST")
    add_results(parser)
    parser.add_argument(
        "--memory-trace",
        type=Path,
        metavar="FILE",
        help="write all memory requests for DRAM simulators, a file per channel",
    )
    parser.add_argument("--stalls", type=float, default=0.0, help="random memory stalls, 0 to 0.9")
    parser.add_argument("--seed", type=int, default=0, help="seed of the stalls (default: 0)")
    parser.add_argument("--cache", type=Path, help="folder for compiled simulators")
    parser.add_argument("--force", action="store_true", help="replace existing files")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.models import prompt_ids
    from lightmamba.cli.show import fields, say, shares, table, working
    from lightmamba.common.errors import InputError
    from lightmamba.common.files import check_output
    from lightmamba.device.sim import check_room, open_golden
    from lightmamba.hardware.compiler import read_build
    from lightmamba.model.tokenizer import Tokenizer

    at_least(args, max_tokens=(1, 8))
    if not 0 <= args.chain < MOST_CHAINED:
        raise InputError(f"--chain must be 0 to {MOST_CHAINED - 1}, not {args.chain}; try 4")
    traces = {} if args.memory_trace is None else _traces(args.memory_trace, Path(args.build))
    check_results(args.results)
    artifact = read_build(Path(args.build))
    if args.results and not artifact.arch.counters:
        raise InputError(
            f"{args.build} has no counters, so there is nothing for --results to keep of its "
            f"cycles; compile for a target with counters = true"
        )
    for file in (args.waves, *traces.values()):
        if file:
            check_output(file, force=args.force)
    start = time.perf_counter()
    with working("building the simulator (a minute or two, the first time)"):
        opened = open_golden(
            Path(args.build), waves=args.waves, stalls=args.stalls, seed=args.seed,
            cache=args.cache,
        )  # fmt: skip
    built = time.perf_counter() - start
    opened.device.trace_memory(traces)
    data = opened.model.tokenizer
    tokenizer = None if data is None else Tokenizer.from_bytes(data)
    ids = prompt_ids(args.prompt, args.prompt_ids, tokenizer, opened.golden.engine.valid_vocab)
    total = len(ids) + args.max_tokens - 1
    check_room(artifact, total, args.chain)
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
    opened: "Opened", ids: list[int], total: int, *, chain: int = 0, watch: bool = False
) -> "tuple[Simulation, float]":
    """Simulate tokens, then a chain of others if they match, and close the simulator.

    Returns
    -------
    The result, and the seconds that the first ones took.
    """
    from lightmamba.cli.show import progress, working
    from lightmamba.device.sim import simulate

    start = time.perf_counter()
    with progress("simulating tokens") as bar:
        found = simulate(opened, ids, total, watch=watch, progress=bar)
    seconds = time.perf_counter() - start
    if chain and found.matches_engine:
        with working("simulating chained tokens"):
            found = found.with_chain(opened.device, chain)
    opened.device.simulator.close()
    return found, seconds


def _traces(file: Path, build: Path) -> dict[str, Path]:
    """File of each channel: the one given, with the channel's name where there are several."""
    from lightmamba.hardware.machine.artifact import Artifact

    names = [channel.name for channel in Artifact.read(build).target.channels]
    if len(names) == 1:
        return {names[0]: file}
    return {name: file.with_name(f"{file.stem}.{name}{file.suffix}") for name in names}
