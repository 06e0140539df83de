"""Utilization of the lanes by memory rate and row order: ``python -m bench.rates``."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.stored import keep
from lightmamba.arch.target import Target
from lightmamba.compiler import build
from lightmamba.data import demo_file
from lightmamba.qmodel import load
from lightmamba.sim import open_twin

TOKENS = 3
SETTINGS = (("reordered", 0.95), ("naive", 0.95), ("reordered", 0.5), ("naive", 0.5))


def slowed(target: Target, beats: float) -> Target:
    """Target whose lanes get ``beats`` beats per cycle."""
    channels = tuple(
        replace(c, attainable_gb_per_s=beats * c.gb_per_s) if c.name.startswith("lane") else c
        for c in target.channels
    )
    return replace(target, channels=channels)


def measure(order: str, beats: float) -> dict[str, Any]:
    """Share of a token's cycles in which lanes work, and of what a lane's memory could give."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "build"
        build(load(demo_file()), slowed(Target.load("tiny"), beats), path, order=order)
        opened = open_twin(path)
        for _ in range(TOKENS):
            step = opened.twin.feed(5)
            if step.difference is not None:
                raise SystemExit(f"{step.difference}")
        opened.device.simulator.close()
    busy = step.stalls["multiplying"] + step.stalls["scale"]
    return {
        "order": order,
        "beats_per_cycle": beats,
        "cycles": step.cycles,
        "lanes_busy": busy / step.cycles,
        "port_of_attainable": step.counters["lane0.beats_read"] / step.cycles / beats,
        "stalls": step.stalls,
    }


def main() -> None:
    for order, beats in SETTINGS:
        row = measure(order, beats)
        print(row)
        keep("rates", row, stay=lambda old: (old["order"], old["beats_per_cycle"]) in SETTINGS)


if __name__ == "__main__":
    main()
