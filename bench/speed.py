"""Times of everyday commands: ``python -m bench.speed``. Medians; run it on an idle machine.

The speed of evaluation is ``bench.evaluation``'s.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.common import encode
from bench.stored import keep
from lightmamba.data import demo_file
from lightmamba.engine import Engine
from lightmamba.qmodel import load


def seconds(run: Callable[[], Any], times: int) -> float:
    """Median wall time, after one run that does not count."""
    run()
    out = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        out.append(time.perf_counter() - start)
    return median(out)


def command(*words: str) -> Callable[[], Any]:
    """A process, its output thrown away."""
    return lambda: subprocess.run(words, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    ids, _ = encode(2)
    model, script = load(demo_file()), str(Path(sys.executable).parent / "lightmamba")
    single = Engine(model)

    def steps(count: int = 200) -> None:
        state = single.empty_state(1)
        for token in ids[:count]:
            _, state = single.step(np.array([token]), state)

    def rate(run: Callable[[], Any], tokens: int) -> float:
        return tokens / seconds(run, args.times)

    rows = {
        "generation, one token at a time, 1 thread": f"{rate(steps, 200):,.0f} tokens/s",
        "`lightmamba --help`": f"{seconds(command(script, '--help'), args.times):.3f} s",
        "`import lightmamba`": (
            f"{seconds(command(sys.executable, '-c', 'import lightmamba'), args.times):.3f} s"
        ),
        "`lightmamba demo`": f"{seconds(command(script, 'demo', '--json'), 1):.0f} s",
    }
    for what, value in rows.items():
        print(f"{what:50} {value}")
    found = ({"what": what, "value": value} for what, value in rows.items())
    keep("speed", *found, stay=lambda _: False)


if __name__ == "__main__":
    main()
