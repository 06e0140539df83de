"""Run a piece of a pipeline without streams, and operands that reach the corners."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.pipe import Timed

__all__ = ["corners", "flow"]


def flow(
    m: Module, feeds: Iterable[tuple[Any, Iterable[int]]], outs: list[Timed]
) -> list[list[int]]:
    """Feed every signal one value per cycle; give each output's values in its own cycles."""
    fed = [(signal, [int(v) for v in values]) for signal, values in feeds]
    count = len(fed[0][1])
    rows: list[list[int]] = []

    async def bench(ctx: Any) -> None:
        for cycle in range(count + max(out.stage for out in outs)):
            for signal, values in fed:
                ctx.set(signal, values[min(cycle, count - 1)])
            rows.append([ctx.get(out.value) for out in outs])
            await ctx.tick()

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return [[rows[cycle + out.stage][n] for cycle in range(count)] for n, out in enumerate(outs)]


def corners(rng: np.random.Generator, shape: Any, bits: int) -> Any:
    """Signed integers, symmetric: every magnitude alike, half powers of two, many extremes."""
    magnitude = (1 << rng.integers(0, bits, shape)) >> 1
    magnitude += rng.integers(0, 2, shape) * rng.integers(0, np.maximum(magnitude, 1))
    magnitude = np.where(rng.random(shape) < 0.1, (1 << (bits - 1)) - 1, magnitude)
    return magnitude * rng.choice([-1, 1], shape)
