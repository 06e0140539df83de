"""The bundled model in gates, held-out text, every observable of every token against the engine.

    python -m bench.gates [--tokens 10000]

The results file is rewritten as the run goes on, so an interrupted run says how far it came.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.common import encode, write_results
from lightmamba.arch.counters import CYCLES, LOSSES
from lightmamba.arch.target import Target
from lightmamba.compiler import build
from lightmamba.data import demo_file
from lightmamba.qmodel import load
from lightmamba.sim import open_twin

STEP = 250  # tokens between two writes of the results


def main() -> None:
    parser = argparse.ArgumentParser(description="bundled model in gates against the engine")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--target", default="tiny")
    args = parser.parse_args()
    ids = encode(2)[0][: args.tokens]
    command = f"python -m bench.gates --tokens {len(ids)} --target {args.target}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "build"
        begin = time.perf_counter()
        build(load(demo_file()), Target.load(args.target), path)
        compiled = time.perf_counter()
        opened = open_twin(path)
        built = time.perf_counter()
        counted: Counter[str] = Counter()
        cycles: Counter[int] = Counter()
        results: dict[str, Any] = {}
        for n, token in enumerate(ids, 1):
            step = opened.twin.feed(int(token))
            counted.update(step.counters)
            cycles[step.cycles] += 1
            if n % STEP == 0 or n == len(ids) or step.difference is not None:
                seconds = time.perf_counter() - built
                results = {
                    "target": args.target,
                    "tokens": n,
                    "mismatches": int(step.difference is not None),
                    "difference": None if step.difference is None else str(step.difference),
                    "cycles_per_token": dict(sorted(cycles.items())),
                    "cycles": {name: counted[name] for name in CYCLES},
                    "overflows": {
                        k: v for k, v in counted.items()
                        if v and k in LOSSES
                    },
                    "simulated_cycles_per_second": sum(k * v for k, v in cycles.items()) / seconds,
                    "compile_seconds": compiled - begin,
                    "build_seconds": built - compiled,
                    "run_seconds": seconds,
                }  # fmt: skip
                write_results("gates", command, results)
                print(
                    f"{n:6} tokens, {results['simulated_cycles_per_second']:,.0f} cycles/s",
                    flush=True,
                )
            if step.difference is not None:
                raise SystemExit(f"{step.difference} (cycle {step.cycle})")


if __name__ == "__main__":
    main()
