"""The integer engine on a CPU, llama.cpp and transformers: docs/explanation/cpu-engine.md.

    python -m bench.engine --shape mamba2-130m mamba2-1.3b --llama-python PYTHON
    python -m bench.engine --transformers
    python -m bench.engine --shape nemotron-3-nano-30b --alone

PYTHON is an interpreter that has llama-cpp-python and numpy. The results file keeps one row for
each shape, number of threads and machine; a run replaces its own rows.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.common import KNOWN
from bench.engine_files import Bandwidth, gguf_file, our_file
from bench.engine_pairs import Task, Worker, in_turns, python
from bench.stored import keep
from lightmamba.common.errors import InputError
from lightmamba.model.qmodel.synthetic import random_model

FLOATS = ("transformers:float32", "transformers:bfloat16", "reference:float32",
          "reference:bfloat16")  # fmt: skip
BUSY = 0.1  # cores that other programs may take; llama.cpp waits in spins and suffers from more


def compare(
    commands: dict[str, list[str]], args: argparse.Namespace, probe: Any = None
) -> dict[str, Any]:
    """Start the workers, note their memory after a first text, and run the rounds."""
    ids = [(7 * n) % 50_000 for n in range(1, args.prompt + 1)]
    decode = {"warm": args.warm, "tokens": args.tokens}
    work: list[Task] = [("decode", decode), ("prompt", {"ids": ids})]
    with ExitStack() as stack:
        workers = {k: stack.enter_context(closing(Worker(words))) for k, words in commands.items()}
        memory = {}
        for name, worker in workers.items():
            worker.ask(work[0])
            memory[name] = worker.ask(("memory", {}))
        runs = in_turns(workers, work, args.rounds, probe, lambda text: print(text, flush=True))
    return {
        **asdict(runs), "memory": memory, "rounds": args.rounds, "warm": args.warm,
        "tokens": args.tokens, "prompt": args.prompt,
        "load_seconds": {name: worker.load_seconds for name, worker in workers.items()},
    }  # fmt: skip


def ours_and(
    others: dict[str, list[str]], shape: str, threads: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Our engine on one shape next to others, and the bandwidth of the same minutes."""
    path = our_file(shape, cache=args.cache)
    moved = random_model(KNOWN[shape], lazy=True).bytes_per_token()
    read = sum(moved.values()) - moved["state"] // 2  # half of the state's bytes are written
    bandwidth = Bandwidth(args.cache)
    ours = {"ours": python("bench.engine_ours", "ours", str(path), str(threads))}
    found = compare(ours | others, args, lambda: bandwidth(read, threads))
    return {
        "shape": shape, "threads": threads, "bytes_read": read,
        "file_bytes": {"ours": path.stat().st_size}, **found,
    }  # fmt: skip


def beside_llama(shape: str, threads: int, args: argparse.Namespace) -> dict[str, Any]:
    """Our engine and llama.cpp on one shape."""
    about, theirs = _about(args.llama_python), gguf_file(shape, args.cache)
    command = python("bench.engine_llama", str(theirs), str(threads), executable=args.llama_python)
    found = ours_and({"llama.cpp": command}, shape, threads, args)
    found["file_bytes"]["llama.cpp"] = theirs.stat().st_size
    return {"kind": "llama", **about, **found}


def beside_floats(shape: str, threads: int, args: argparse.Namespace) -> dict[str, Any]:
    """Our engine, transformers and our float model on one shape."""
    ours = our_file(shape, cache=args.cache)
    commands = {"ours": python("bench.engine_ours", "ours", str(ours), str(threads))}
    for kind in FLOATS:
        commands[kind] = python("bench.engine_ours", kind, shape, str(threads))
    found = compare(commands, args)
    return {"kind": "float", "shape": shape, "threads": threads, **found}


def _about(executable: str) -> dict[str, str]:
    """Version of llama-cpp-python, and what its build can use of the processor."""
    code = "import llama_cpp as l; print(l.__version__, l.llama_print_system_info().decode())"
    words = [executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(
            f"{executable} has no llama-cpp-python; make an environment that has: "
            "CMAKE_ARGS=-DGGML_NATIVE=ON python -m pip install llama-cpp-python"
        )
    version, system = done.stdout.strip().split(" ", 1)
    return {"version": version, "system": system}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="the engine compared with llama.cpp and transformers"
    )
    parser.add_argument("--shape", nargs="+", choices=list(KNOWN), default=["mamba2-130m"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warm", type=int, default=32, help="tokens before those timed (32)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens decoded (64)")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt (512)")
    parser.add_argument("--llama-python", metavar="PYTHON", help="one that has llama-cpp-python")
    parser.add_argument("--transformers", action="store_true", help="compare with float models")
    parser.add_argument("--alone", action="store_true", help="time our engine, next to no other")
    parser.add_argument("--cache", type=Path, help="folder of the models (the user's cache)")
    parser.add_argument("--dry", action="store_true", help="leave the results file as it is")
    args = parser.parse_args()
    if not (args.llama_python or args.transformers or args.alone):
        parser.error("give --llama-python PYTHON, --transformers or --alone")
    try:
        for row in rows(args):
            busy = row["others"] > BUSY
            keep("engine", row, dry=args.dry or busy)
            if busy:
                print(f"not kept: other programs took {row['others']:.2f} cores; run it again")
    except InputError as error:
        sys.exit(str(error))


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows that the command line asks for, one after the other."""
    for shape in args.shape:
        for threads in args.threads:
            if args.llama_python:
                yield beside_llama(shape, threads, args)
            if args.transformers:
                yield beside_floats(shape, threads, args)
            if args.alone:
                yield {"kind": "alone", **ours_and({}, shape, threads, args)}


if __name__ == "__main__":
    main()
