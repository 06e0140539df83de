"""The registers, through AXI4-Lite."""

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.registers import offsets
from lightmamba.hardware.rtl.host import HostPort
from tests.support.machine import REGISTERS

from ..support.axi import lite_read, lite_write, wait_for

AT = offsets()
END = max(AT[r.name] + 4 * r.count * (1 + r.wide) for r in REGISTERS)


ONE = ArchConfig(lanes=1)


def simulate(dut: HostPort, bench: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def places(access: str, config: ArchConfig = ONE) -> list[tuple[int, str, int | None, int]]:
    """Every 32 bits of every register: offset, name, which of several, lowest bit."""
    found = []
    for r in REGISTERS:
        if r.access == access:
            for n in range(r.counted(config)):
                for half in range(1 + r.wide):
                    at = AT[r.name] + 4 * (n * (1 + r.wide) + half)
                    found.append((at, r.name, n if r.count > 1 else None, 32 * half))
    return found


def member(dut: HostPort, name: str, n: int | None) -> Any:
    return getattr(dut, name) if n is None else getattr(dut, name)[n]


FOUR = ArchConfig(tokens=4, state_elements=256, state_ports=4)


@pytest.mark.parametrize(
    "config", [ArchConfig(lanes=64), ArchConfig(lanes=3), FOUR], ids=["64 lanes", "3", "4 tokens"]
)
def test_what_is_written_shows_and_reads_back(config: ArchConfig):
    """A different number everywhere, written in any order, address first or data first."""
    rng, dut, lanes = np.random.default_rng(0), HostPort(config), config.lanes
    wanted = [p for p in places("rw", config) if p[1] != "interrupt"]
    values = {at: int(rng.integers(1 << 32)) for at, *_ in wanted}

    async def bench(ctx: Any) -> None:
        assert not any(ctx.get(member(dut, name, n)) for _, name, n, _ in wanted)
        for k in rng.permutation(len(wanted)):
            at = wanted[k][0]
            assert await lite_write(ctx, dut.bus, at, values[at], gap=int(rng.integers(-2, 3))) == 0
        await ctx.tick().repeat(3)
        for at, name, n, low in wanted:
            assert (ctx.get(member(dut, name, n)) >> low) & 0xFFFFFFFF == values[at], name
        for at, name, *_ in wanted:
            assert await lite_read(ctx, dut.bus, at) == values[at], name
        # What is no register, or not there; every bit of an address counts.
        beyond = [END, END + 64, 0xFFC, *([AT["lane_base"] + 8 * lanes] if lanes < 64 else [])]
        beyond += [0x800 | AT["chain"], 0xC00 | AT["lane_base"]]
        beyond.append(0x800 | AT["token"])
        for at in beyond:
            assert await lite_write(ctx, dut.bus, at, 0xFFFFFFFF) == 0
            assert await lite_read(ctx, dut.bus, at) == 0
        for at, name, *_ in wanted:
            assert await lite_read(ctx, dut.bus, at) == values[at], name

    simulate(dut, bench)


def test_inputs_are_read_and_not_written():
    rng, dut = np.random.default_rng(1), HostPort(ArchConfig(lanes=1))
    wanted = places("ro")
    values = {at: int(rng.integers(1 << 32)) for at, *_ in wanted}

    async def bench(ctx: Any) -> None:
        whole: dict[str, int] = {}
        for at, name, _, low in wanted:
            whole[name] = whole.get(name, 0) | values[at] << low
        for name, value in whole.items():
            ctx.set(getattr(dut, name), value)
        for at, name, *_ in wanted:
            await lite_write(ctx, dut.bus, at, 0)
            assert await lite_read(ctx, dut.bus, at) == values[at], name

    simulate(dut, bench)


def test_strobes():
    dut = HostPort(ArchConfig(lanes=1))

    async def bench(ctx: Any) -> None:
        at = AT["lane_base"] + 4
        await lite_write(ctx, dut.bus, at, 0x11223344)
        await lite_write(ctx, dut.bus, at, 0xAABBCCDD, strobe=0b0110)
        assert await lite_read(ctx, dut.bus, at) == 0x11BBCC44
        await lite_write(ctx, dut.bus, at, 0, strobe=0)
        assert ctx.get(dut.lane_base[0]) == 0x11BBCC44 << 32

    simulate(dut, bench)


@pytest.mark.parametrize(("name", "config"), [("program", ONE), ("program", FOUR), ("step", FOUR)])
def test_an_index_counts_up_behind_its_data(name: str, config: ArchConfig):
    dut, seen = HostPort(config), list[tuple[int, int]]()

    async def watch(ctx: Any) -> None:
        while True:
            _, _, valid, index, data = await ctx.tick().sample(
                getattr(dut, f"{name}_data_write"),
                getattr(dut, f"{name}_index"),
                getattr(dut, f"{name}_data"),
            )
            if valid:
                seen.append((int(index), int(data)))

    async def bench(ctx: Any) -> None:
        await lite_write(ctx, dut.bus, AT[f"{name}_index"], 30)
        for n in range(4):
            await lite_write(ctx, dut.bus, AT[f"{name}_data"], 0xF00 + n)
        await lite_write(ctx, dut.bus, AT["token"], 9)
        assert await lite_read(ctx, dut.bus, AT[f"{name}_index"]) == 34
        await lite_write(ctx, dut.bus, AT[f"{name}_index"], 2)
        await lite_write(ctx, dut.bus, AT[f"{name}_data"], 5)
        assert await lite_read(ctx, dut.bus, AT[f"{name}_data"]) == 0
        await ctx.tick().repeat(4)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [(30, 0xF00), (31, 0xF01), (32, 0xF02), (33, 0xF03), (2, 5)]


def test_start_is_one_pulse_with_its_data():
    dut, seen = HostPort(ArchConfig(lanes=1)), []

    async def watch(ctx: Any) -> None:
        while True:
            _, _, valid, data = await ctx.tick().sample(dut.start_write, dut.start)
            if valid:
                seen.append(int(data))

    async def bench(ctx: Any) -> None:
        await lite_write(ctx, dut.bus, AT["start"], 3)
        await lite_read(ctx, dut.bus, AT["start"])
        await lite_write(ctx, dut.bus, AT["control"], 1)
        await lite_write(ctx, dut.bus, AT["start"], 0)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.program_index) == 0

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [3, 0]


def test_interrupt():
    dut = HostPort(ArchConfig(lanes=1))

    async def done(ctx: Any) -> None:
        ctx.set(dut.done, 1)
        await ctx.tick()
        ctx.set(dut.done, 0)

    async def state(ctx: Any) -> tuple[int, int, int]:
        await ctx.tick().repeat(3)
        value = await lite_read(ctx, dut.bus, AT["interrupt"])
        return ctx.get(dut.done_latch), ctx.get(dut.interrupt_out), value

    async def bench(ctx: Any) -> None:
        await done(ctx)
        assert await state(ctx) == (1, 0, 0b10)  # not enabled
        await lite_write(ctx, dut.bus, AT["interrupt"], 1)
        assert await state(ctx) == (1, 1, 0b11)
        await lite_write(ctx, dut.bus, AT["interrupt"], 0b11)
        assert await state(ctx) == (0, 0, 0b01)  # acknowledged, still enabled
        await done(ctx)
        assert await state(ctx) == (1, 1, 0b11)
        await lite_write(ctx, dut.bus, AT["start"], 0)
        assert await state(ctx) == (0, 0, 0b01)  # a new start
        await done(ctx)
        await lite_write(ctx, dut.bus, AT["interrupt"], 0b10)
        assert await state(ctx) == (0, 0, 0)
        await done(ctx)
        ctx.set(dut.bus.bready, 1)
        ctx.set(dut.bus.awaddr, AT["interrupt"])
        ctx.set(dut.bus.awvalid, 1)
        ctx.set(dut.bus.wdata, 0b11)
        ctx.set(dut.bus.wvalid, 1)
        await ctx.tick()
        ctx.set(dut.bus.awvalid, 0)
        ctx.set(dut.bus.wvalid, 0)
        await wait_for(ctx, dut.interrupt[1])
        await done(ctx)  # in the very cycle of the acknowledgement: it is not lost
        assert await state(ctx) == (1, 1, 0b11)

    simulate(dut, bench)


def test_latency():
    """From address and data, in one cycle, to the register; the response waits to be taken."""
    dut = HostPort(ArchConfig(lanes=1))

    async def bench(ctx: Any) -> None:
        ctx.set(dut.bus.awaddr, AT["chain"])
        ctx.set(dut.bus.awvalid, 1)
        ctx.set(dut.bus.wdata, 77)
        ctx.set(dut.bus.wstrb, 15)
        ctx.set(dut.bus.wvalid, 1)
        _, _, *ready = await ctx.tick().sample(dut.bus.awready, dut.bus.wready)
        assert ready == [1, 1]
        ctx.set(dut.bus.awvalid, 0)
        ctx.set(dut.bus.wvalid, 0)
        for _ in range(dut.latency - 1):
            assert ctx.get(dut.chain) == 0
            await ctx.tick()
        assert ctx.get(dut.chain) == 77
        # A second write is held, and takes place only when the first response is gone.
        ctx.set(dut.bus.wdata, 78)
        ctx.set(dut.bus.awvalid, 1)
        ctx.set(dut.bus.wvalid, 1)
        await ctx.tick()
        ctx.set(dut.bus.awaddr, AT["control"])
        ctx.set(dut.bus.wdata, 79)
        for _ in range(9):
            assert not ctx.get(dut.bus.awready) | ctx.get(dut.bus.wready)
            assert ctx.get(dut.bus.bvalid)
            assert ctx.get(dut.chain) == 77
            await ctx.tick()
        ctx.set(dut.bus.awvalid, 0)
        ctx.set(dut.bus.wvalid, 0)
        ctx.set(dut.bus.bready, 1)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.chain) == 78
        assert not ctx.get(dut.bus.bvalid)
        # A read is offered until it is taken, and no other begins.
        ctx.set(dut.bus.araddr, AT["chain"])
        ctx.set(dut.bus.arvalid, 1)
        await ctx.tick()
        ctx.set(dut.bus.araddr, AT["control"])
        await wait_for(ctx, dut.bus.rvalid)
        for _ in range(9):
            assert not ctx.get(dut.bus.arready)
            assert (ctx.get(dut.bus.rvalid), ctx.get(dut.bus.rdata)) == (1, 78)
            await ctx.tick()
        ctx.set(dut.bus.rready, 1)
        await ctx.tick()
        assert not ctx.get(dut.bus.rvalid)
        assert ctx.get(dut.bus.arready)

    simulate(dut, bench)


@pytest.mark.parametrize("enabled", [0, 1])
def test_a_bus_fault_raises_the_interrupt_where_it_is_enabled(enabled: int):
    dut = HostPort(ONE)

    async def bench(ctx: Any) -> None:
        await lite_write(ctx, dut.bus, AT["interrupt"], enabled)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.interrupt_out)
        ctx.set(dut.faulty, 1)
        assert ctx.get(dut.interrupt_out) == enabled
        await lite_write(ctx, dut.bus, AT["interrupt"], 2 | enabled)  # it stays until it is cleared
        await ctx.tick().repeat(3)
        assert ctx.get(dut.interrupt_out) == enabled

    simulate(dut, bench)
