"""Requests that arrive broken: what the bridge answers, and that it is in step again."""

from dataclasses import replace
from typing import Any

import pytest

from lightmamba.hardware.machine.serial import (
    BLOCK,
    BREAKS,
    START_REQUEST,
    Answer,
    Operation,
    Request,
    Status,
    entry,
)

from .board import BIT, CYCLES, IDENTITY, Board

OP = Operation
FRAME = Request(OP.WRITE_MEMORY, 0x21, 0x100, payload=bytes(range(16))).encode()
SILENCE = BIT * (1 << IDENTITY.silence_log2)


async def goes_on(ctx: Any, board: Board) -> None:
    """Check that the next request is answered, and memory and registers are untouched."""
    assert not board.received
    answer = await board.ask(ctx, OP.READ_MEMORY, 9, 0x100, 24)
    assert answer == Answer(OP.READ_MEMORY, 9, Status.OK, board.content[0x100:0x118])
    assert not board.written


def flipped(at: int, mask: int) -> bytes:
    """The frame with some bits of one byte inverted."""
    return FRAME[:at] + bytes([FRAME[at] ^ mask]) + FRAME[at + 1 :]


CASES = {
    "operation": (flipped(1, 0x01), Status.CRC),
    "operation without its payload": (flipped(1, 0x80), Status.CRC),
    "sequence": (flipped(2, 0x10), Status.CRC),
    "address": (flipped(4, 0x02), Status.CRC),
    "count, less": (flipped(7, 0x10), Status.CRC),
    "count, more": (flipped(7, 0x20), Status.CUT),
    "count, above a block": (flipped(8, 0x08), Status.OVERLONG),
    "payload": (flipped(12, 0x40), Status.CRC),
    "last of the payload": (flipped(24, 0x01), Status.CRC),
    "CRC": (flipped(28, 0x80), Status.CRC),
    "cut in the header": (FRAME[:5], Status.CUT),
    "cut in the payload": (FRAME[:15], Status.CUT),
    "cut in the CRC": (FRAME[:-1], Status.CUT),
    "one byte too little": (FRAME[:15] + FRAME[16:], Status.CUT),
    "one byte too much": (FRAME[:15] + b"\x00" + FRAME[15:], Status.CRC),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_request(name: str):
    """It is answered once, changes nothing, and after a silence the next one is read."""
    board, (frame, status) = Board(memory=False), CASES[name]

    async def bench(ctx: Any) -> None:
        await board.send(ctx, frame)
        assert await board.take(ctx) == Answer(OP.BROKEN, 0, status)
        await ctx.delay(SILENCE)
        await goes_on(ctx, board)

    board.run(bench)
    assert status in BREAKS


def test_a_wrong_start_is_no_request():
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        await board.send(ctx, flipped(0, 0x01))
        await goes_on(ctx, board)

    board.run(bench)


def test_characters_between_requests_are_ignored():
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        await board.send(ctx, b"\x00\xffhello\x5a")
        await board.send(ctx, b"\xa5\x00", stop=0)  # a start byte that is no character
        await ctx.delay(2 * BIT)
        await goes_on(ctx, board)

    board.run(bench)


def test_a_false_start_costs_one_request():
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        await board.send(ctx, bytes([START_REQUEST]) + FRAME)
        answer = await board.take(ctx)
        assert (answer.operation, answer.status in BREAKS) == (OP.BROKEN, True)
        await ctx.delay(SILENCE)
        await goes_on(ctx, board)

    board.run(bench)


def test_a_wrong_stop_bit():
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        await board.send(ctx, FRAME[:14])
        await board.send(ctx, FRAME[14:15], stop=0)
        await ctx.delay(2 * BIT)
        await board.send(ctx, FRAME[15:])
        assert await board.take(ctx) == Answer(OP.BROKEN, 0, Status.LINE)
        await ctx.delay(SILENCE)
        await goes_on(ctx, board)

    board.run(bench)


def test_what_follows_a_broken_request_is_ignored_until_a_silence():
    """Otherwise a start byte within what follows could begin one false frame after the other."""
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        await board.send(ctx, flipped(12, 1) + FRAME + bytes([START_REQUEST]) * 20)
        assert await board.take(ctx) == Answer(OP.BROKEN, 0, Status.CRC)
        await ctx.delay(SILENCE)
        await goes_on(ctx, board)

    board.run(bench)


def test_a_pause_within_a_request():
    """Just below the silence it is one request, which is then carried out."""
    board = Board(memory=False)

    async def bench(ctx: Any) -> None:
        await board.send(ctx, FRAME[:15])
        await ctx.delay(0.9 * SILENCE)
        await board.send(ctx, FRAME[15:])
        assert await board.take(ctx) == Answer(OP.WRITE_MEMORY, 0x21, Status.OK)

    board.run(bench)
    assert board.memory[slice(0x100, 0x110)] == bytes(range(16))


def test_more_than_the_buffer_holds():
    """Requests in the buffer are carried out; the request that does not fit is broken."""
    board = Board(identity=replace(IDENTITY, buffer=64), memory=False, stalls=1.0)
    writes = [Request(OP.WRITE_REGISTERS, n, payload=entry(4 * n, n + 1)) for n in range(6)]

    async def bench(ctx: Any) -> None:
        assert sum(write.stored for write in writes[1:5]) == 64, "one is at the output already"
        for write in writes:  # the first is being carried out, its bytes have left the buffer
            await board.send(ctx, write.encode())
        await ctx.tick().repeat(10 * CYCLES)
        board.stalls = 0.0
        answers = [await board.take(ctx) for _ in range(6)]
        assert Answer(OP.BROKEN, 0, Status.OVERRUN) in answers
        assert [a.sequence for a in answers if a.operation] == [0, 1, 2, 3, 4]
        await ctx.delay(SILENCE)
        assert (await board.ask(ctx, OP.IDENTIFY, 7)).status == Status.OK

    board.run(bench)
    assert board.written == [(0, 1), (4, 2), (8, 3), (12, 4), (16, 5)]
    assert BLOCK > 64
