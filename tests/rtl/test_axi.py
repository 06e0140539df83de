"""How a range of beats becomes bursts."""

from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.hardware.rtl.memory.axi import Bursts, lite_slave, master

from ..support.axi import refuses, wait_for
from ..support.streams import drive

PAGE = 4096
CHANNELS = {
    "ar": "addr len size burst id valid ready", "r": "data resp last id valid ready",
    "aw": "addr len size burst id valid ready", "w": "data strb last valid ready",
    "b": "resp id valid ready",
}  # fmt: skip


def names(channels: str) -> set[str]:
    return {c + name for c in channels.split() for name in CHANNELS[c].split()}


def test_channels_have_their_standard_names():
    assert set(master(128).members) == names("ar r aw w b")
    assert set(master(128, write=False).members) == names("ar r")
    assert set(master(128, read=False).members) == names("aw w b")
    lite = names("ar r aw w b")
    lite -= {c + n for c in CHANNELS for n in ("len", "size", "burst", "id", "last")}
    assert set(lite_slave().members) == lite


def cut(address: int, count: int, zero: int, size: int, burst: int) -> list[dict[str, int]]:
    """Bursts of a command, one beat after the other."""
    bursts: list[dict[str, int]] = []
    for n in range(count):
        at = address + n * size
        if n and not zero and at % PAGE and bursts[-1]["beats"] < burst:
            bursts[-1]["beats"] += 1
        else:
            bursts.append({"address": at, "beats": 1, "zero": zero, "last": 0})
    if bursts:
        bursts[-1]["last"] = 1
    return bursts


@pytest.mark.parametrize(
    ("bits", "burst", "stalls"),
    [(64, 16, 0.3), (128, 16, 0.0), (128, 1, 0.4), (256, 7, 0.3), (512, 64, 0.0), (512, 256, 0.5)],
)
def test_equals_a_beat_at_a_time(bits: int, burst: int, stalls: float):
    rng, size = np.random.default_rng([bits, burst]), bits // 8
    commands = []
    for n in range(32):
        page = int(rng.integers(0, 1 << 28)) * PAGE
        inside = int(rng.choice([0, 1, PAGE // size - 1, int(rng.integers(PAGE // size))])) * size
        count = int(rng.choice([0, 1, burst, burst + 1, int(rng.integers(1, 200))]))
        zero = int(n % 8 == 3)
        commands.append({"address": page + inside, "count": min(count, 20) if zero else count,
                         "zero": zero})  # fmt: skip
    commands.append({"address": (1 << 40) - 3 * size, "count": 3, "zero": 0})
    expected = [b for c in commands for b in cut(**c, size=size, burst=burst)]
    dut = Bursts(bits, burst)
    run = drive(dut, {"command": commands}, {"o": len(expected)}, stalls=stalls, settle=5)
    assert run.out["o"] == expected
    assert dut.burst_beats == min(burst, PAGE // size)


def test_worked_values():
    """Two beats to the end of a page, then 16, 16 and 3; nothing; two zeros; 31 to the end."""
    commands = [
        {"address": 0x1FE0, "count": 37, "zero": 0},
        {"address": 0x40, "count": 0, "zero": 0},
        {"address": 0x8000, "count": 2, "zero": 1},
    ]
    commands.append({"address": 0x1E10, "count": 40, "zero": 0})
    run = drive(Bursts(128, 16), {"command": commands}, {"o": 9}, settle=4)
    assert [(b["address"], b["beats"], b["zero"], b["last"]) for b in run.out["o"]] == [
        (0x1FE0, 2, 0, 0), (0x2000, 16, 0, 0), (0x2100, 16, 0, 0), (0x2200, 3, 0, 1),
        (0x8000, 1, 1, 0), (0x8010, 1, 1, 1),
        (0x1E10, 16, 0, 0), (0x1F10, 15, 0, 0), (0x2000, 9, 0, 1),
    ]  # fmt: skip


def test_latency_and_throughput():
    command = {"address": 0x10, "count": 4000, "zero": 0}
    dut = Bursts(64, 1)
    run = drive(dut, {"command": [command]}, {"o": 400})
    cycles = run.cycles["o"]
    assert cycles[0] - run.cycles["command"][0] == dut.latency
    assert cycles == list(range(cycles[0], cycles[0] + 400 * dut.interval))


def test_flush_drops_the_rest_of_a_command():
    """In any cycle; commands meanwhile are swallowed, the next one comes out alone."""
    dut = Bursts(128, 4)

    async def give(ctx: Any, count: int) -> None:
        ctx.set(dut.command.payload, {"address": 0x100, "count": count, "zero": 0})
        ctx.set(dut.command.valid, 1)
        await wait_for(ctx, dut.command.ready)
        await ctx.tick()
        ctx.set(dut.command.valid, 0)

    async def bench(ctx: Any) -> None:
        for wait in range(1, 6):
            assert not ctx.get(dut.busy)
            await give(ctx, 100)
            ctx.set(dut.o.ready, wait % 2)
            await ctx.tick().repeat(wait)
            assert ctx.get(dut.busy)
            ctx.set(dut.flush, 1)
            await give(ctx, 50)
            await give(ctx, 60)
            ctx.set(dut.flush, 0)
            assert not ctx.get(dut.busy)
            ctx.set(dut.o.ready, 0)
            await give(ctx, 3)
            for _ in range(6):
                assert ctx.get(dut.busy)
                await ctx.tick()
            assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload.beats)) == (1, 3)
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            assert not ctx.get(dut.o.valid)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("burst", [0, 257])
def test_refuses_bursts_that_axi_has_not(burst: int):
    refuses(lambda: Bursts(128, burst), f"burst_beats must be in 1..256, not {burst}")
