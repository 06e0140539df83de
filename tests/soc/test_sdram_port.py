"""The AXI half of the SDRAM controller: chunks, their order, and what waits for what."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from lightmamba.common.errors import InputError
from lightmamba.hardware.soc.sdram_layouts import SdramShape
from lightmamba.hardware.soc.sdram_port import SdramChunks, SdramPort

from ..support.streams import drive

Burst = dict[str, int]


def chunks_of(burst: Burst, bits: int) -> list[dict[str, Any]]:
    """The beats of a burst, put together by the block of 128 bytes that they are in."""
    size, found = bits // 8, dict[int, list[int]]()
    for n in range(burst["more"] + 1):
        beat = burst["address"] // size + n
        found.setdefault(beat * size // 128, []).append(beat)
    words = 512 * 16 // bits
    return [
        {
            "place": {"beat": at[0] % words, "bank": at[0] // words % 4,
                      "row": at[0] // words // 4 % 8192},
            "more": len(at) - 1,
            "last": int(n == len(found) - 1),
            "id": burst["id"],
        }
        for n, at in enumerate(found.values())
    ]  # fmt: skip


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("stalls", [0.0, 0.4])
def test_chunks_equal_the_beats_by_block(bits: int, stalls: float):
    rng, size = np.random.default_rng(bits), bits // 8
    bursts = [
        {"address": int(rng.integers(1 << 25)) // size * size, "more": int(more), "id": k % 64}
        for k, more in enumerate([0, 1, 255, 15, 16, *rng.integers(0, 256, 25)])
    ]
    bursts += [{"address": 128 * 7, "more": 1024 // bits - 1, "id": 1}]  # exactly a block
    bursts += [{"address": (1 << 25) - 64, "more": 31, "id": 2}]  # the end, and the begin again
    expected = [chunk for burst in bursts for chunk in chunks_of(burst, bits)]
    run = drive(SdramChunks(SdramShape(bits)), {"i": bursts}, {"o": len(expected)}, stalls=stalls)
    assert run.out["o"] == expected


def test_chunks_latency_and_throughput():
    dut = SdramChunks(SdramShape(64))
    burst = {"address": 0, "more": 255, "id": 3}
    run = drive(dut, {"i": [burst, burst]}, {"o": 32})
    at = run.cycles["o"]
    assert at[0] - run.cycles["i"][0] == dut.latency
    assert at[15] - at[0] == 15 * dut.interval
    assert at[16] - at[15] == 2


def test_other_widths_are_refused():
    with pytest.raises(InputError, match="must have 32 or 64 bits, not 128"):
        SdramShape(128)


class Log:
    """A port whose AXI side is driven by hand; the commands and responses that come, by cycle."""

    def __init__(self, room: int = 64, depth: int = 64) -> None:
        self.dut = SdramPort(SdramShape(64), room, depth)
        self.commands: list[tuple[int, int, int, int]] = []  # cycle, write, beat, more
        self.responses: list[int] = []
        self.taken: dict[str, list[int]] = {"ar": [], "aw": [], "w": []}

    def run(
        self, cycles: int, reads: list[Burst], writes: list[Burst], *, beats: int = 0,
        bready: int = 1, hold: int = 0, data: Callable[[int], bool] = lambda cycle: False,
    ) -> None:  # fmt: skip
        """``beats`` of write data are given; ``data``: whether a beat read comes in a cycle;
        ``hold``: cycles in which no command is taken."""
        axi, dut = self.dut.axi, self.dut

        async def address(ctx: Any, way: str, bursts: list[Burst]) -> None:
            cycle = 0
            for burst in bursts:
                for name, value in (("addr", "address"), ("len", "more"), ("id", "id")):
                    ctx.set(getattr(axi, way + name), burst[value])
                ctx.set(getattr(axi, f"{way}valid"), 1)
                ready = 0
                while not ready:
                    _, _, ready = await ctx.tick().sample(getattr(axi, f"{way}ready"))
                    cycle += 1
                self.taken[way].append(cycle - 1)
                ctx.set(getattr(axi, f"{way}valid"), 0)

        async def give(ctx: Any) -> None:
            await address(ctx, "ar", reads)

        async def put(ctx: Any) -> None:
            await address(ctx, "aw", writes)

        async def write(ctx: Any) -> None:
            ctx.set(dut.write.ready, 1)
            for n in range(beats):
                ctx.set(axi.wvalid, 1)
                await ctx.tick()
                self.taken["w"].append(n)
            ctx.set(axi.wvalid, 0)

        async def watch(ctx: Any) -> None:
            ctx.set(axi.rready, 1)
            ctx.set(axi.bready, bready)
            command = dut.command.payload
            for cycle in range(cycles):
                ctx.set(dut.read.valid, data(cycle))
                ctx.set(dut.command.ready, cycle >= hold)
                *_, valid, kind, beat, more, b = await ctx.tick().sample(
                    dut.command.valid, command.write, command.place.beat, command.more, axi.bvalid
                )
                if valid and cycle >= hold:
                    self.commands.append((cycle, kind, beat, more))
                if b:
                    self.responses.append(cycle)

        simulator = Simulator(dut)
        simulator.add_clock(1e-8)
        simulator.add_testbench(watch)
        for each in (give, put, write):
            simulator.add_testbench(each, background=True)
        simulator.run()


def bursts(count: int, more: int = 15) -> list[Burst]:
    return [{"address": 128 * n, "more": more, "id": n} for n in range(count)]


def test_latency_of_a_read():
    log = Log()
    log.run(20, bursts(1), [])
    assert [c[1:] for c in log.commands] == [(0, 0, 15)]
    assert log.commands[0][0] - log.taken["ar"][0] == SdramPort.latency


def test_latency_of_a_write_and_of_its_response():
    log = Log()
    log.run(20, [], bursts(1, more=0), beats=1)
    assert log.commands[0][0] - log.taken["aw"][0] == SdramPort.latency
    assert log.responses[0] - log.commands[0][0] == 0
    log = Log()
    log.run(40, [], bursts(1), beats=16)
    assert log.commands[0][0] - log.taken["w"][-1] == 3


def test_a_chunk_waits_for_all_its_data():
    log = Log()
    log.run(60, [], [{"address": 64, "more": 23, "id": 0}], beats=23)  # of 8 and 16 beats
    assert [c[1:] for c in log.commands] == [(1, 8, 7)]
    assert log.responses == []


def test_reads_ask_for_no_more_than_there_is_room_for():
    log = Log(room=64)
    log.run(100, bursts(8), [])
    assert len(log.commands) == 4
    log = Log(room=64)
    log.run(160, bursts(8), [], data=lambda cycle: 100 <= cycle < 131)
    assert len(log.commands) == 5
    assert log.commands[4][0] in range(116, 122)


def test_responses_that_nobody_takes_stop_writes_only():
    log = Log()
    log.run(120, bursts(3), bursts(8, more=0), beats=8, bready=0)
    kinds = [c[1] for c in log.commands]
    assert (kinds.count(0), kinds.count(1)) == (3, 4)


def test_they_take_turns():
    """Both wait all the time, with room and data; a command every other cycle."""
    log = Log(room=256, depth=256)
    log.run(320, bursts(1, more=255), bursts(1, more=255), beats=256, hold=270)
    kinds = [c[1] for c in log.commands[:16]]
    assert kinds == [kinds[0] ^ n % 2 for n in range(16)]
    assert [b[0] - a[0] for a, b in pairwise(log.commands[:16])] == [2] * 15
