"""A serial bridge in Amaranth's simulator: the host's end of the line, registers and memory."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from lightmamba.hardware.machine.serial import Answer, Identity, Request
from lightmamba.hardware.soc.bridge import SerialBridge

from ..support.axi import Memory

__all__ = ["CLOCK_HZ", "CYCLES", "IDENTITY", "Board"]

CLOCK_HZ, CYCLES = 1_000_000, 4  # cycles of a bit
IDENTITY = Identity(
    build=0x1234ABCD, clock_hz=CLOCK_HZ, memory_clock_hz=2_000_000, memory_log2=20,
    baud=CLOCK_HZ // CYCLES, silence_log2=9, idle_log2=12,
)  # fmt: skip
BIT = CYCLES / CLOCK_HZ  # seconds
PATIENCE = 60_000  # cycles


class Board:
    """A bridge with everything around it.

    Parameters
    ----------
    bits
        Of the memory port.
    stalls
        Chance that a bus pauses, in every cycle.
    bad
        Addresses of memory and registers that answer with an error.
    size
        Bytes of memory.
    clock_hz
        Of the simulation.
    memory
        Whether it is the one that watches the rules of AXI in every cycle; the simple one of
        :meth:`_stores` and :meth:`_loads` makes a simulation three times as fast.

    Attributes
    ----------
    registers
        Of the accelerator, by offset; 0 where nothing was written.
    written
        Writes to them, in order.
    received
        Characters of the board that were not taken.
    """

    def __init__(
        self, bits: int = 64, *, stalls: float = 0.0, seed: int = 0, size: int = 1 << 13,
        bad: tuple[int, ...] = (), identity: Identity = IDENTITY, memory: bool = True,
        clock_hz: int = CLOCK_HZ,
    ) -> None:  # fmt: skip
        self.dut = SerialBridge(bits, replace(identity, word_bytes=bits // 8))
        content = np.random.default_rng([seed, 5]).bytes(size)
        self.memory = Memory(content, stalls=stalls, latency=(1, 9), seed=seed, bad=bad)
        self.clock_hz = clock_hz
        self.content, self.simple = content, not memory
        self.stalls, self.seed, self.bad = stalls, seed, bad
        self.registers: dict[int, int] = {}
        self.written: list[tuple[int, int]] = []
        self.received = bytearray()
        self.now = Signal(40)  # cycles
        self.bit = BIT  # of the host's end
        self.pulses: list[int] = []  # phase_later at every phase_step

    def run(self, bench: Callable[[Any], Awaitable[None]]) -> None:
        """Simulate until ``bench`` is done."""
        simulator = self.simulator()
        simulator.add_testbench(bench)
        simulator.run()

    def simulator(self, *more: Callable[[Any], Awaitable[None]]) -> Simulator:
        """Simulator with all that is around the bridge, and more processes."""
        whole = Module()
        whole.submodules.dut = self.dut
        whole.d.sync += self.now.eq(self.now + 1)
        simulator = Simulator(whole)
        simulator.add_clock(1 / self.clock_hz)
        beside = [self._listen, self._writes, self._reads, self._phase]
        if self.simple:
            beside += [self._stores, self._loads]
        else:
            beside += [self.memory.reads(self.dut.memory), self.memory.writes(self.dut.memory)]
        for process in (*beside, *more):
            simulator.add_testbench(process, background=True)
        return simulator

    async def send(self, ctx: Any, data: bytes, *, stop: int = 1) -> None:
        """Send characters, with this stop bit."""
        for byte in data:
            for bit in (0, *(byte >> n & 1 for n in range(8)), stop):
                ctx.set(self.dut.rx, bit)
                await ctx.delay(self.bit)
        ctx.set(self.dut.rx, 1)

    async def take(self, ctx: Any, patience: int = PATIENCE) -> Answer:
        """Wait for the next answer; everything that comes must belong to one."""
        for _ in range(patience // CYCLES // 10):
            answer, used = Answer.decode(self.received)
            if answer is not None:
                assert used == Answer.OVERHEAD + len(answer.payload), "characters between answers"
                del self.received[:used]
                return answer
            await ctx.delay(10 * BIT)
        raise AssertionError(f"no answer, but {self.received.hex()}")

    async def ask(self, ctx: Any, *request: Any, **more: Any) -> Answer:
        """Send a request, and take its answer."""
        await self.send(ctx, Request(*request, **more).encode())
        return await self.take(ctx)

    async def _listen(self, ctx: Any) -> None:
        while True:
            if ctx.get(self.dut.tx):
                await ctx.negedge(self.dut.tx)
            await ctx.delay(self.bit / 2)
            assert not ctx.get(self.dut.tx), "a start bit that is too short"
            byte = 0
            for n in range(8):
                await ctx.delay(self.bit)
                byte |= ctx.get(self.dut.tx) << n
            await ctx.delay(self.bit)
            assert ctx.get(self.dut.tx), "a stop bit of 0"
            self.received.append(byte)

    async def _pause(self, ctx: Any, rng: np.random.Generator) -> None:
        while rng.random() < self.stalls:
            await ctx.tick()

    async def _valid(self, ctx: Any, valid: Any, *values: Any) -> list[int]:
        """Take a transfer that is offered now or later, in the next cycle; its values."""
        if not ctx.get(valid):
            await ctx.posedge(valid)
        found = [int(ctx.get(value)) for value in values]
        await ctx.tick()
        return found

    async def _writes(self, ctx: Any) -> None:
        bus, rng = self.dut.host, np.random.default_rng([self.seed, 3])
        channels = {"aw": bus.awaddr, "w": bus.wdata}
        while True:
            taken: dict[str, int] = {}
            for channel in rng.permutation(list(channels)).tolist():
                await self._pause(ctx, rng)
                ctx.set(getattr(bus, f"{channel}ready"), 1)
                valid = getattr(bus, f"{channel}valid")
                (taken[channel],) = await self._valid(ctx, valid, channels[channel])
                ctx.set(getattr(bus, f"{channel}ready"), 0)
            await self._pause(ctx, rng)
            self.registers[taken["aw"]] = taken["w"]
            self.written.append((taken["aw"], taken["w"]))
            ctx.set(bus.bresp, 2 * (taken["aw"] in self.bad))
            ctx.set(bus.bvalid, 1)
            await self._valid(ctx, bus.bready)
            ctx.set(bus.bvalid, 0)

    async def _reads(self, ctx: Any) -> None:
        bus, rng = self.dut.host, np.random.default_rng([self.seed, 4])
        while True:
            ctx.set(bus.arready, 1)
            (address,) = await self._valid(ctx, bus.arvalid, bus.araddr)
            ctx.set(bus.arready, 0)
            await self._pause(ctx, rng)
            ctx.set(bus.rdata, self.registers.get(address, 0))
            ctx.set(bus.rresp, 2 * (address in self.bad))
            ctx.set(bus.rvalid, 1)
            await self._valid(ctx, bus.rready)
            ctx.set(bus.rvalid, 0)

    async def _stores(self, ctx: Any) -> None:
        axi, data = self.dut.memory, self.memory.data
        while True:
            ctx.set(axi.awready, 1)
            (at,) = await self._valid(ctx, axi.awvalid, axi.awaddr)
            ctx.set(axi.awready, 0)
            ctx.set(axi.wready, 1)
            (value,) = await self._valid(ctx, axi.wvalid, axi.wdata)
            ctx.set(axi.wready, 0)
            size = len(axi.wdata) // 8
            data[at : at + size] = value.to_bytes(size, "little")
            ctx.set(axi.bvalid, 1)
            await ctx.tick()
            ctx.set(axi.bvalid, 0)

    async def _loads(self, ctx: Any) -> None:
        axi, data = self.dut.memory, self.memory.data
        while True:
            ctx.set(axi.arready, 1)
            (at,) = await self._valid(ctx, axi.arvalid, axi.araddr)
            ctx.set(axi.arready, 0)
            size = len(axi.rdata) // 8
            ctx.set(axi.rdata, int.from_bytes(data[at : at + size], "little"))
            ctx.set(axi.rvalid, 1)
            await ctx.tick()
            ctx.set(axi.rvalid, 0)

    async def _phase(self, ctx: Any) -> None:
        while True:
            await ctx.posedge(self.dut.phase_step)
            self.pulses.append(int(ctx.get(self.dut.phase_later)))
