"""A memory behind AXI4 for Amaranth's simulator, as unkind as the protocol allows, and a host.

Data of one id come in order, ids are mixed beat by beat, every channel stalls at random. A write
takes effect only when it is answered, a read sees memory as it is when its address is taken. The
rules of the protocol, and those that our masters add, are asserted in every cycle.
"""

import gc
import warnings
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import UnusedElaboratable

__all__ = ["Burst", "Memory", "lite_read", "lite_write", "refuses", "wait_for"]

_Beat = list[int | None]  # its bytes, as far as they are written
PAGE = 4096
OKAY, SLVERR = 0, 2
LIMIT = 2000  # cycles; what takes longer is stuck


@dataclass(frozen=True)
class Burst:
    """An address as it was taken."""

    cycle: int
    address: int
    beats: int
    id: int


class Memory:
    """Bytes from address ``base`` on.

    Parameters
    ----------
    data
        What they hold at first.
    stalls
        Chance per cycle that a channel pauses.
    data_stalls
        That of the written data, if it is another.
    latency
        Fewest and most cycles from an address (of a write: from its last beat) to the answer.
    strobes
        Beats may leave bytes out.
    bad
        Addresses; a beat, or a burst written, that covers one is answered with an error.

    Attributes
    ----------
    asked, written : list of Burst
        Read bursts as their addresses came; writes as they were answered.
    sent, taken : list of int
        Cycle of each beat read, of each beat written.
    """

    def __init__(
        self,
        data: bytes | int,
        *,
        base: int = 0,
        stalls: float = 0.0,
        data_stalls: float | None = None,
        latency: tuple[int, int] = (1, 1),
        seed: int = 0,
        strobes: bool = False,
        bad: Collection[int] = (),
    ) -> None:
        self.data, self.base, self.strobes = bytearray(data), base, strobes
        self.stalls, self.latency, self.bad = stalls, latency, bad
        self.data_stalls = stalls if data_stalls is None else data_stalls
        self.seed = seed
        self.asked: list[Burst] = []
        self.written: list[Burst] = []
        self.sent: list[int] = []
        self.taken: list[int] = []

    def __getitem__(self, where: slice) -> bytes:
        """Bytes between two addresses."""
        return bytes(self.data[where.start - self.base : where.stop - self.base])

    def _response(self, address: int, size: int) -> int:
        return SLVERR if any(address <= at < address + size for at in self.bad) else OKAY

    def _delay(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.latency[0], self.latency[1], endpoint=True))

    def reads(self, axi: Any) -> Any:
        """Process that serves the read channels of ``axi``."""
        rng, size = np.random.default_rng([self.seed, 1]), len(axi.rdata) // 8
        address = _Channel(axi, "ar", size)
        owed: dict[int, deque[tuple[int, int, int, bool]]] = {}

        async def process(ctx: Any) -> None:
            cycle = 0
            while True:
                ready = rng.random() >= self.stalls
                ctx.set(axi.arready, int(ready))
                able = [i for i, queue in owed.items() if queue and queue[0][0] <= cycle]
                answers = bool(able) and rng.random() >= self.stalls
                ctx.set(axi.rvalid, int(answers))
                if answers:
                    one = able[int(rng.integers(len(able)))]
                    _, value, response, last = owed[one].popleft()
                    ctx.set(axi.rid, one)
                    ctx.set(axi.rdata, value)
                    ctx.set(axi.rresp, response)
                    ctx.set(axi.rlast, int(last))
                    self.sent.append(cycle)
                _, _, rready, *sampled = await ctx.tick().sample(axi.rready, *address.signals)
                assert rready, "rready fell"
                burst = address.take(cycle, ready, sampled)
                if burst is not None:
                    self.asked.append(burst)
                    due = cycle + self._delay(rng)
                    queue = owed.setdefault(burst.id, deque())
                    for n in range(burst.beats):
                        at = burst.address + n * size
                        value = int.from_bytes(self[at : at + size], "little")
                        response = self._response(at, size)
                        queue.append((due, value, response, n == burst.beats - 1))
                cycle += 1

        return process

    def writes(self, axi: Any) -> Any:
        """Process that serves the write channels of ``axi``."""
        rng, size = np.random.default_rng([self.seed, 2]), len(axi.wdata) // 8
        address = _Channel(axi, "aw", size)
        bursts: deque[Burst] = deque()
        beats: list[_Beat] = []  # of the burst that is being sent
        whole: deque[list[_Beat]] = deque()
        owed: dict[int, deque[tuple[int, Burst, _Beat]]] = {}
        channel = (axi.bready, axi.wvalid, axi.wdata, axi.wstrb, axi.wlast)

        async def process(ctx: Any) -> None:
            cycle, offered = 0, None
            while True:
                aw_ready = rng.random() >= self.stalls
                w_ready = rng.random() >= self.data_stalls
                ctx.set(axi.awready, int(aw_ready))
                ctx.set(axi.wready, int(w_ready))
                able = [i for i, queue in owed.items() if queue and queue[0][0] <= cycle]
                answers = bool(able) and rng.random() >= self.stalls
                ctx.set(axi.bvalid, int(answers))
                if answers:
                    one = able[int(rng.integers(len(able)))]
                    _, burst, content = owed[one].popleft()
                    at = burst.address - self.base
                    assert 0 <= at <= len(self.data) - len(content), f"write at {burst.address:#x}"
                    for n, value in enumerate(content):
                        self.data[at + n] = self.data[at + n] if value is None else value
                    self.written.append(burst)
                    ctx.set(axi.bid, one)
                    ctx.set(axi.bresp, self._response(burst.address, len(content)))
                sampled = await ctx.tick().sample(*channel, *address.signals)
                bready, valid, data, strobe, last = sampled[2:7]
                assert bready, "bready fell"
                if found := address.take(cycle, aw_ready, sampled[7:]):
                    bursts.append(found)
                now = (data, strobe, last) if valid else None
                assert offered is None or now == offered, "a beat was withdrawn"
                offered = now if not w_ready else None
                if valid and w_ready:
                    assert self.strobes or strobe == (1 << size) - 1, "not all bytes are written"
                    self.taken.append(cycle)
                    values = int(data).to_bytes(size, "little")
                    beats.append([v if strobe >> n & 1 else None for n, v in enumerate(values)])
                    if last:
                        whole.append(beats.copy())
                        beats.clear()
                while bursts and whole:
                    burst, sent = bursts.popleft(), whole.popleft()
                    assert len(sent) == burst.beats, "wlast is not at the burst's last beat"
                    due = cycle + self._delay(rng)
                    owed.setdefault(burst.id, deque()).append((due, burst, [*chain(*sent)]))
                cycle += 1

        return process


class _Channel:
    """An address channel, watched for the rules."""

    def __init__(self, axi: Any, prefix: str, size: int) -> None:
        names = ("valid", "addr", "len", "size", "burst", "id")
        self.signals = [getattr(axi, prefix + name) for name in names]
        self.prefix, self.size = prefix, size
        self.offered: tuple[int, ...] | None = None

    def take(self, cycle: int, ready: bool, sampled: Any) -> Burst | None:
        """Check what was offered in a cycle; the burst, if it was taken."""
        valid, *rest = (int(value) for value in sampled)
        now = tuple(rest) if valid else None
        assert self.offered is None or now == self.offered, f"{self.prefix}: withdrawn"
        self.offered = now if not ready else None
        if now is None:
            return None
        address, length, size, kind, one = now
        assert (1 << size, kind) == (self.size, 1), f"{self.prefix}: not whole beats in a row"
        assert address % self.size == 0, f"{self.prefix}: {address:#x} is no multiple of a beat"
        end = address + (length + 1) * self.size
        assert address // PAGE == (end - 1) // PAGE, f"{self.prefix}: {address:#x} to {end:#x}"
        return Burst(cycle, address, length + 1, one) if ready else None


async def lite_write(
    ctx: Any, bus: Any, address: int, value: int, *, strobe: int = 15, gap: int = 0
) -> int:
    """Write a register; the response. Data come ``gap`` cycles after the address, or before."""
    ctx.set(bus.awaddr, address)
    ctx.set(bus.wdata, value)
    ctx.set(bus.wstrb, strobe)
    ctx.set(bus.bready, 1)
    begin = {"aw": max(0, -gap), "w": max(0, gap)}  # the cycle in which each is first offered
    for cycle in range(LIMIT):
        for channel, first in begin.items():
            ctx.set(getattr(bus, channel + "valid"), int(cycle >= first))
        _, _, awready, wready, bvalid, bresp = await ctx.tick().sample(
            bus.awready, bus.wready, bus.bvalid, bus.bresp
        )
        for channel, ready in (("aw", awready), ("w", wready)):
            if ready and cycle >= begin.get(channel, cycle + 1):
                del begin[channel]
                ctx.set(getattr(bus, channel + "valid"), 0)
        if bvalid:
            break
    else:
        raise AssertionError("no response to a write")
    assert not begin, "a response before address and data were taken"
    ctx.set(bus.bready, 0)
    return int(bresp)


async def lite_read(ctx: Any, bus: Any, address: int) -> int:
    """Read a register."""
    ctx.set(bus.araddr, address)
    ctx.set(bus.arvalid, 1)
    ctx.set(bus.rready, 1)
    await wait_for(ctx, bus.arready)
    await ctx.tick()
    ctx.set(bus.arvalid, 0)
    await wait_for(ctx, bus.rvalid)
    value, response = ctx.get(bus.rdata), ctx.get(bus.rresp)
    await ctx.tick()
    ctx.set(bus.rready, 0)
    assert response == OKAY
    return int(value)


async def wait_for(ctx: Any, signal: Any) -> None:
    """Let cycles pass until ``signal`` is 1, but not for ever."""
    for _ in range(LIMIT):
        if ctx.get(signal):
            return
        await ctx.tick()
    raise AssertionError(f"{signal!r} stays 0")


def refuses(build: Callable[[], object], message: str) -> None:
    """Check that a component cannot be built; what is left of it is no loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(ValueError, match=message):
            build()
        gc.collect()
