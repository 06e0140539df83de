"""Parts of the bridge alone: what they say of their latency and throughput, and stalls."""

import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.hardware.machine.serial import (
    SOC_REGISTERS,
    START_REQUEST,
    Operation,
    Request,
    Status,
)
from lightmamba.hardware.soc.bridge_answer import AnswerSender
from lightmamba.hardware.soc.bridge_execute import Executor
from lightmamba.hardware.soc.bridge_receive import FrameBuffer, FrameReceiver
from lightmamba.hardware.soc.crc import RESIDUE, Crc32
from lightmamba.hardware.soc.soc_registers import SocRegisters

from ..support.streams import drive
from .board import IDENTITY


def simulate(dut: Any, *benches: Callable[[Any], Awaitable[None]]) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


def test_crc():
    dut, data = Crc32(), np.random.default_rng(1).bytes(20)

    async def bench(ctx: Any) -> None:
        async def feed(byte: int) -> int:
            ctx.set(dut.data, byte)
            ctx.set(dut.load, 1)
            await ctx.tick()
            ctx.set(dut.load, 0)
            cycles = 1
            while ctx.get(dut.busy):
                await ctx.tick()
                cycles += 1
            return cycles

        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        for n, byte in enumerate(data, 1):
            assert await feed(byte) == dut.latency == dut.interval
            assert ctx.get(dut.value) ^ 0xFFFFFFFF == zlib.crc32(data[:n])
        for byte in zlib.crc32(data).to_bytes(4, "little"):
            await feed(byte)
        assert ctx.get(dut.value) == RESIDUE
        ctx.set(dut.plain, 1)
        await feed(0xFF)
        assert ctx.get(dut.value) == RESIDUE >> 8

    simulate(dut, bench)


def test_buffer_keeps_what_is_committed():
    dut, rng = FrameBuffer(16), np.random.default_rng(2)
    wanted, found = list[int](), list[int]()

    async def writer(ctx: Any) -> None:
        pending: list[int] = []
        for n in range(3000):
            write = int(not ctx.get(dut.full) and rng.random() < 0.5)
            ctx.set(dut.write, write)
            ctx.set(dut.data, n % 256)
            await ctx.tick()
            ctx.set(dut.write, 0)
            pending += [n % 256] * write
            await ctx.tick()  # a write shows in `full` two cycles later, as on a slow line
            if rng.random() < 0.3:
                keep = rng.random() < 0.5
                ctx.set(dut.commit if keep else dut.drop, 1)
                await ctx.tick()
                ctx.set(dut.commit, 0)
                ctx.set(dut.drop, 0)
                wanted.extend(pending if keep else [])
                pending.clear()
        await ctx.tick().repeat(100)

    async def reader(ctx: Any) -> None:
        chance = np.random.default_rng(3)
        while True:
            ready = int(chance.random() < 0.4)
            ctx.set(dut.o.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and ready:
                found.append(int(payload))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(writer)
    simulator.add_testbench(reader, background=True)
    simulator.run()
    assert found == wanted
    assert len(found) > 300


def test_latency_and_throughput_of_the_buffer():
    dut = FrameBuffer(16)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.write, 1)
        for n in range(5):
            ctx.set(dut.data, n)
            await ctx.tick()
        ctx.set(dut.write, 0)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.commit, 1)
        await ctx.tick()
        ctx.set(dut.commit, 0)
        for _ in range(dut.latency - 1):
            assert not ctx.get(dut.o.valid)
            await ctx.tick()
        for n in range(5):
            assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (1, n)
            await ctx.tick()
        assert not ctx.get(dut.o.valid)

    simulate(dut, bench)


def test_latency_and_throughput_of_the_receiver():
    """Characters that follow as fast as it says; the commit as early as it says."""
    dut = FrameReceiver()
    request = Request(Operation.WRITE_MEMORY, 1, 8, payload=bytes(range(8)))
    stored = bytearray()

    async def bench(ctx: Any) -> None:
        for _ in range(2):
            for byte in request.encode():
                ctx.set(dut.valid, 1)
                ctx.set(dut.data, byte)
                await ctx.delay(1e-9)
                stored.extend([byte] * ctx.get(dut.write))
                commits = []
                for _ in range(dut.interval):
                    commits.append(ctx.get(dut.commit))
                    await ctx.tick()
                    ctx.set(dut.valid, 0)
                assert not any(commits[: dut.latency])
            assert commits[dut.latency]
        assert not ctx.get(dut.broken)

    simulate(dut, bench)
    assert stored == 2 * request.encode()[1:-4]
    assert request.encode()[0] == START_REQUEST


@pytest.mark.parametrize("stalls", [0.0, 0.6])
def test_answers_get_their_crc(stalls: float):
    frames = [np.random.default_rng(n).bytes(6 + n) for n in range(4)]
    pieces, wanted = list[dict[str, int]](), list[int]()
    for body in frames:
        pieces.append({"byte": 0x5A, "first": 1, "last": 0})
        pieces += [{"byte": b, "first": 0, "last": int(n == len(body) - 1)}
                   for n, b in enumerate(body)]  # fmt: skip
        wanted += [0x5A, *body, *zlib.crc32(body).to_bytes(4, "little")]
    run = drive(AnswerSender(), {"i": pieces}, {"o": len(wanted)}, stalls=stalls, settle=20)
    assert run.out["o"] == wanted
    if not stalls:
        assert run.cycles["i"][0] == run.cycles["o"][0], "no latency"
        gaps = np.diff(run.cycles["o"])
        assert max(gaps) == AnswerSender.interval


def test_the_phase_is_counted_modulo_its_turn():
    dut = SocRegisters(IDENTITY.turn)

    async def bench(ctx: Any) -> None:
        names = [register.name for register in SOC_REGISTERS]
        at = 0
        for way in (1, 1, -1, -1, -1, *[1] * (2 * IDENTITY.turn + 3), *[-1] * (IDENTITY.turn + 5)):
            ctx.set(dut.index, names.index("phase"))
            ctx.set(dut.data, 3 if way > 0 else 1)
            ctx.set(dut.write, 1)
            await ctx.tick()
            ctx.set(dut.write, 0)
            ctx.set(dut.index, names.index("phase_steps"))
            at += way
            await ctx.delay(1e-9)
            assert ctx.get(dut.value) == at % IDENTITY.turn
            assert (ctx.get(dut.phase_step), ctx.get(dut.phase_later)) == (1, int(way > 0))

    simulate(dut, bench)


@pytest.mark.parametrize("bits", [32, 64])
def test_latency_and_throughput_of_the_executor(bits: int):
    dut, count = Executor(bits, IDENTITY), 64
    asked: list[int] = []

    async def memory(ctx: Any) -> None:
        ctx.set(dut.memory.arready, 1)
        cycle, last = 0, 0
        while True:
            _, _, valid = await ctx.tick().sample(dut.memory.arvalid)
            ctx.set(dut.memory.rvalid, last)
            last = int(valid)
            if valid:
                asked.append(cycle)
            cycle += 1

    request = Request(Operation.READ_MEMORY, 1, 0x40, count)
    header = [*request.encode()[1:9]]
    run = drive(
        dut, {"frames": header}, {"answer": 5 + count + 1}, hold={"sent": 1}, beside=[memory],
    )  # fmt: skip
    assert run.cycles["answer"][0] - run.cycles["frames"][0] == dut.latency
    assert max(np.diff(asked)) <= dut.interval
    assert run.out["answer"][-1] == {"byte": Status.OK, "first": 0, "last": 1}
    assert len(asked) == count * 8 // bits
