"""Every operation of the bridge, at its pins, with buses that stall."""

from typing import Any

import numpy as np
import pytest

from lightmamba.hardware.machine.serial import (
    BLOCK,
    READ_FLAG,
    Answer,
    Operation,
    Request,
    Status,
    entry,
    rate,
    soc_offset,
    wait_field,
)
from lightmamba.hardware.soc.bridge import SerialBridge

from ..support.axi import refuses
from .board import BIT, CLOCK_HZ, CYCLES, IDENTITY, Board

OP = Operation
STALLS = pytest.mark.parametrize(("bits", "stalls"), [(64, 0.0), (64, 0.7), (32, 0.5)])


@STALLS
def test_memory(bits: int, stalls: float):
    board = Board(bits, stalls=stalls, seed=3)
    block = np.random.default_rng(1).bytes(32)

    async def bench(ctx: Any) -> None:
        answer = await board.ask(ctx, OP.WRITE_MEMORY, 7, 0x108, payload=block)
        assert answer == Answer(OP.WRITE_MEMORY, 7, Status.OK)
        answer = await board.ask(ctx, OP.READ_MEMORY, 8, 0x100, 48)
        around = board.content[0x100:0x108] + block + board.content[0x128:0x130]
        assert answer == Answer(OP.READ_MEMORY, 8, Status.OK, around)
        for operation in (OP.WRITE_MEMORY, OP.READ_MEMORY):
            assert await board.ask(ctx, operation, 9, 0x100) == Answer(operation, 9, Status.OK)

    board.run(bench)
    assert board.memory[slice(0, 1 << 13)] == board.content[:0x108] + block + board.content[0x128:]
    assert {burst.beats for burst in board.memory.asked + board.memory.written} == {1}


@STALLS
def test_registers(bits: int, stalls: float):
    board = Board(bits, stalls=stalls, seed=4, memory=False)
    board.registers[0xFFC] = 0x01020304

    async def bench(ctx: Any) -> None:
        entries = entry(0x10, 0xDEADBEEF) + entry(0xFFC) + entry(0x10) + entry(0x14, 5)
        answer = await board.ask(ctx, OP.REGISTERS, 1, payload=entries)
        assert answer == Answer(OP.REGISTERS, 1, Status.OK, bytes.fromhex(
            "10000000 04030201 efbeadde 14000000"))  # fmt: skip
        answer = await board.ask(ctx, OP.WRITE_REGISTERS, 2, payload=entry(0, 1) + entry(0, 2))
        assert answer == Answer(OP.WRITE_REGISTERS, 2, Status.OK)

    board.run(bench)
    assert board.written == [(0x10, 0xDEADBEEF), (0x14, 5), (0, 1), (0, 2)]


def test_registers_are_written_once():
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        async def write(sequence: int, value: int) -> None:
            answer = await board.ask(ctx, OP.WRITE_REGISTERS, sequence, payload=entry(0, value))
            assert answer == Answer(OP.WRITE_REGISTERS, sequence, Status.OK)

        await write(0, 1)
        await write(0, 1)  # its answer was lost
        await board.ask(ctx, OP.REGISTERS, 5, payload=entry(0))
        await write(0, 1)
        await write(1, 2)
        await board.ask(ctx, OP.IDENTIFY, 0)
        await write(1, 3)  # of another host

    board.run(bench)
    assert board.written == [(0, 1), (0, 2), (0, 3)]


def test_registers_of_the_board():
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        bridge: SerialBridge = board.dut
        names = ("leds", "capture", "loaded")
        entries = b"".join(entry(soc_offset(name), 0xABCD0F5A) for name in names)
        read = b"".join(entry(soc_offset(name)) for name in (*names, "phase_steps", "phase"))
        answer = await board.ask(ctx, OP.REGISTERS, 1, payload=entries + read)
        assert np.frombuffer(answer.payload, "<u4")[3:].tolist() == [0x5A, 0xA, 0xABCD0F5A, 0, 0]
        assert (ctx.get(bridge.leds), ctx.get(bridge.capture)) == (0x5A, 0xA)
        steps = entry(soc_offset("phase"), 3) + 2 * entry(soc_offset("phase"), 1)
        await board.ask(ctx, OP.WRITE_REGISTERS, 1, payload=steps)
        answer = await board.ask(ctx, OP.REGISTERS, 1, payload=entry(soc_offset("phase_steps")))
        turn = bridge.identity.turn
        assert int.from_bytes(answer.payload, "little") == turn - 1  # one later, two earlier
        await board.send(ctx, Request(OP.WRITE_REGISTERS, 2, payload=entry(
            soc_offset("reset"), 1)).encode())  # fmt: skip
        await ctx.posedge(bridge.reset)
        cycles = 0
        while ctx.get(bridge.reset):
            await ctx.tick()
            cycles += 1
        assert cycles == 8

    board.run(bench)
    assert board.pulses == [1, 0, 0]
    assert not board.written, "none of them is the accelerator's"


def test_wait():
    """It ends with the interrupt, its time, or the next request."""
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        await board.send(ctx, Request(OP.WAIT, 1, wait_field(20_000)).encode())
        await ctx.tick().repeat(3_000)
        assert len(board.received) == 5  # its head
        ctx.set(board.dut.interrupt, 1)
        assert await board.take(ctx, 1_000) == Answer(OP.WAIT, 1, Status.OK)
        assert await board.ask(ctx, OP.WAIT, 2, wait_field(20_000)) == Answer(OP.WAIT, 2, Status.OK)
        ctx.set(board.dut.interrupt, 0)
        start = ctx.get(board.now)
        assert await board.ask(ctx, OP.WAIT, 3, wait_field(5_000)) == Answer(
            OP.WAIT, 3, Status.LATE
        )
        line = (13 + Answer.OVERHEAD) * 10 * CYCLES
        assert abs(ctx.get(board.now) - start - 5_000 - line) < 100
        await board.send(ctx, Request(OP.WAIT, 4, wait_field(100_000)).encode())
        await board.send(ctx, Request(OP.REGISTERS, 5, payload=entry(0)).encode())
        assert await board.take(ctx, 2_000) == Answer(OP.WAIT, 4, Status.LATE)
        assert (await board.take(ctx, 2_000)).sequence == 5

    board.run(bench)


def test_rate():
    """It changes behind the answer, and falls back after a break, or if no request comes."""
    board, slow = Board(memory=False), rate(CLOCK_HZ, CLOCK_HZ / 10)

    async def bench(ctx: Any) -> None:
        async def change() -> None:
            assert await board.ask(ctx, OP.SET_RATE, 1, slow) == Answer(OP.SET_RATE, 1, Status.OK)
            board.bit = BIT * 10 / CYCLES
            assert (await board.ask(ctx, OP.IDENTIFY, 2)).status == Status.OK

        await change()
        ctx.set(board.dut.rx, 0)
        await ctx.delay(10 * board.bit)
        ctx.set(board.dut.rx, 1)
        board.bit = BIT
        await ctx.delay(12 * BIT)
        assert (await board.ask(ctx, OP.IDENTIFY, 3)).sequence == 3
        await change()
        for _ in range(3):  # characters that are no request do not count
            await ctx.delay(board.bit * (1 << IDENTITY.idle_log2) / 3)
            await board.send(ctx, b"\x11")
        await ctx.delay(board.bit * (1 << IDENTITY.silence_log2))
        board.bit = BIT
        assert (await board.ask(ctx, OP.IDENTIFY, 4)).sequence == 4
        for wrong in (0, 511, 1 << 20):
            answer = await board.ask(ctx, OP.SET_RATE, 5, wrong)
            assert answer == Answer(OP.SET_RATE, 5, Status.ARGUMENT)

    board.run(bench)


def test_what_is_refused():
    """The line stays in step, and nothing is done."""
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        cases = [
            (Request(0x33, 1, 0x100, 8), Status.UNKNOWN),
            (Request(0xB3, 2, 0x100, payload=bytes(40)), Status.UNKNOWN),
            (Request(OP.WRITE_MEMORY, 3, 0x104, payload=bytes(8)), Status.ARGUMENT),
            (Request(OP.WRITE_MEMORY, 4, 0x100, payload=bytes(12)), Status.ARGUMENT),
            (Request(OP.READ_MEMORY, 5, 0x101, 8), Status.ARGUMENT),
            (Request(OP.READ_MEMORY, 6, 0x100, 7), Status.ARGUMENT),
            (Request(OP.READ_MEMORY, 7, 1 << 20, 8), Status.ARGUMENT),
            (Request(OP.REGISTERS, 8, payload=bytes(4)), Status.ARGUMENT),
        ]
        for request, status in cases:
            await board.send(ctx, request.encode())
            assert await board.take(ctx) == Answer(request.operation, request.sequence, status)
        answer = await board.ask(ctx, OP.READ_MEMORY, 9, 0x100, 8)
        assert answer.payload == board.content[0x100:0x108]

    board.run(bench)
    assert board.memory[slice(0, 1 << 13)] == board.content
    assert not board.written


def test_errors_of_the_buses():
    board = Board(bad=(0x140, 0x20))

    async def bench(ctx: Any) -> None:
        answer = await board.ask(ctx, OP.READ_MEMORY, 1, 0x130, 32)
        assert (answer.status, len(answer.payload)) == (Status.BUS, 32)
        answer = await board.ask(ctx, OP.WRITE_MEMORY, 2, 0x130, payload=bytes(32))
        assert answer == Answer(OP.WRITE_MEMORY, 2, Status.BUS)
        for entries in (entry(0x20), entry(0x20, 1)):
            answer = await board.ask(ctx, OP.REGISTERS, 3, payload=entries + entry(0x24))
            assert answer.status == Status.BUS
        assert (await board.ask(ctx, OP.READ_MEMORY, 4, 0x100, 8)).status == Status.OK

    board.run(bench)


@pytest.mark.slow
@pytest.mark.board
def test_throughput_of_a_long_load():
    """Whole blocks one after the other: at least 96 % of the characters are their content."""
    board = Board(memory=False)
    blocks = [np.random.default_rng(n).bytes(BLOCK) for n in range(2)]

    async def bench(ctx: Any) -> None:
        start = ctx.get(board.now)
        for n, block in enumerate(blocks):
            await board.send(ctx, Request(OP.WRITE_MEMORY, n, n * BLOCK, payload=block).encode())
        for n in range(2):
            assert await board.take(ctx) == Answer(OP.WRITE_MEMORY, n, Status.OK)
        characters = (ctx.get(board.now) - start) / CYCLES / 10
        assert 2 * BLOCK / characters >= 0.96, f"{2 * BLOCK / characters:.1%}"

    board.run(bench)
    assert board.memory[slice(0, 2 * BLOCK)] == b"".join(blocks)


def test_throughput_of_a_read():
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        await board.send(ctx, Request(OP.READ_MEMORY, 1, 0x400, BLOCK).encode())
        start = ctx.get(board.now)
        assert (await board.take(ctx)).payload == board.content[0x400 : 0x400 + BLOCK]
        characters = (ctx.get(board.now) - start) / CYCLES / 10
        assert BLOCK / characters >= 0.96, f"{BLOCK / characters:.1%}"

    board.run(bench)


def test_latency():
    """From the middle of the last stop bit, where the character counts, to the line's start bit."""
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        data = Request(OP.IDENTIFY, 1).encode()
        await board.send(ctx, data)
        start = ctx.get(board.now) - CYCLES // 2
        await ctx.negedge(board.dut.tx)
        cycles = ctx.get(board.now) - start
        assert cycles <= SerialBridge.latency + CYCLES + 5, cycles  # a bit time, the receiver's own

    board.run(bench)


def test_a_port_of_another_width_is_refused():
    from lightmamba.hardware.soc.bridge_execute import Executor

    refuses(lambda: Executor(128, IDENTITY), "must have 32 or 64 bits, not 128")
    assert READ_FLAG == 1 << 31
