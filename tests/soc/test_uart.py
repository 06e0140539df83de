"""The UART against characters that the tests make bit by bit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from lightmamba.hardware.machine.serial import RATE_BITS
from lightmamba.hardware.rtl.layouts import i_stream
from lightmamba.hardware.soc.uart import BaudClock, UartReceiver, UartTransmitter

from ..support.cases import crossed

FOUR, SIXTEEN = 1 << RATE_BITS - 2, 1 << RATE_BITS - 4  # cycles to a bit
FAST = round((1 << RATE_BITS) * 3 / 50)  # 3 Mbaud at 50 MHz


def waveform(
    characters: Sequence[int], cycles: float, *, idle: int = 40, stop: int = 1
) -> list[int]:
    """Samples of a line that sends characters with ``cycles`` to a bit."""
    bits = [b for c in characters for b in (0, *(c >> n & 1 for n in range(8)), stop)]
    samples = [1] * idle
    while (at := int((len(samples) - idle) / cycles)) < len(bits):
        samples.append(bits[at])
    return samples + [1] * idle


def received(line: Sequence[int], rate: int) -> list[tuple[int, int, int]]:
    """Characters of a line: data, error, break."""
    return [(data, error, stop) for _, data, error, stop in timed(line, rate)]


def timed(line: Sequence[int], rate: int) -> list[tuple[int, int, int, int]]:
    """Characters of a line, each with its cycle before them."""
    dut, found = UartReceiver(), list[tuple[int, int, int, int]]()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.rate, rate)
        for cycle, bit in enumerate(line):
            ctx.set(dut.rx, bit)
            _, _, valid, data, error, stop = await ctx.tick().sample(
                dut.valid, dut.data, dut.error, dut.line_break
            )
            if valid:
                found.append((cycle, int(data), int(error), int(stop)))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def right(characters: Sequence[int], off: float, rate: int) -> bool:
    """Whether characters without a gap come through from a sender that is ``off`` in its rate."""
    cycles = (1 << RATE_BITS) / rate / (1 + off)
    return received(waveform(characters, cycles), rate) == [(c, 0, 0) for c in characters]


TEXT = [0x00, 0xFF, 0x55, 0xAA, 0xA5, *(int(c) for c in np.random.default_rng(1).bytes(12))]


@pytest.mark.parametrize(
    ("off", "rate"), crossed([-0.02, 0.02, 0.0, -0.01, 0.01], [FOUR, FAST, SIXTEEN])
)
def test_a_rate_that_is_off_by_two_percent(rate: int, off: float):
    assert right(TEXT, off, rate)


def test_the_limit_of_the_rate():
    """Sixteen cycles to a bit and more take 4 % either way; 6 % break it, as they should."""
    for rate in (FAST, SIXTEEN):
        assert [right(TEXT, off, rate) for off in (-0.06, -0.04, 0.04, 0.06)] == [
            False, True, True, False,
        ]  # fmt: skip


def test_glitches_of_one_cycle_do_nothing():
    line = waveform(TEXT, 16)
    for at in range(5, len(line) - 5, 11):
        line[at] ^= 1
    assert [character for character, *_ in received(line, SIXTEEN)] == TEXT


def test_a_short_pulse_is_no_start_bit():
    line = waveform([0x41], 16)
    line[10:16] = [0] * 6
    assert received(line, SIXTEEN) == [(0x41, 0, 0)]


def test_stop_bits_of_zero_and_breaks():
    wrong, silence = waveform([0x41], 16, stop=0), [0] * 500
    line = wrong + silence + waveform([0x42], 16)
    assert received(line, SIXTEEN) == [(0x41, 1, 0), (0x00, 1, 1), (0x42, 0, 0)]


def test_latency_of_the_receiver():
    """From the middle of the stop bit, 9.5 bits behind the start's edge, to the pulse."""
    ((cycle, *_),) = timed(waveform([0x41], 16), SIXTEEN)
    assert cycle - (40 + int(9.5 * 16)) in (UartReceiver.latency, UartReceiver.latency + 1)


class Sender(wiring.Component):
    """A transmitter with its clock."""

    def __init__(self) -> None:
        super().__init__({"rate": In(RATE_BITS), "i": i_stream(8), "tx": Out(1), "busy": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.clock = clock = BaudClock()
        m.submodules.transmitter = transmitter = UartTransmitter()
        m.d.comb += [
            clock.rate.eq(self.rate),
            transmitter.tick.eq(clock.tick),
            self.tx.eq(transmitter.tx),
            self.busy.eq(transmitter.busy),
        ]
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)
        return m


def sent(characters: Sequence[int], rate: int, pauses: float = 0.0) -> tuple[list[int], list[int]]:
    """Samples of the line and of ``busy``."""
    dut, rng = Sender(), np.random.default_rng(2)
    line: list[int] = []
    busy: list[int] = []

    async def source(ctx: Any) -> None:
        ctx.set(dut.rate, rate)
        for character in characters:
            while rng.random() < pauses:
                await ctx.tick().repeat(7)
            ctx.set(dut.i.payload, character)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(400)

    async def watch(ctx: Any) -> None:
        while True:
            _, _, tx, now = await ctx.tick().sample(dut.tx, dut.busy)
            line.append(int(tx))
            busy.append(int(now))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    return line, busy


def test_a_character_bit_by_bit():
    line, busy = sent([0b0100_0001], SIXTEEN)
    first = line.index(0)
    assert [line[first + 8 + 16 * n] for n in range(11)] == [0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 1]
    assert busy[first + 159], "the stop bit has its length"
    assert not busy[first + 170]


@pytest.mark.parametrize("rate", [FOUR, FAST, SIXTEEN])
def test_characters_follow_without_a_gap(rate: int):
    line, _ = sent(TEXT, rate)
    assert received(line, rate) == [(c, 0, 0) for c in TEXT]
    first = line.index(0)
    last = max(n for n, bit in enumerate(line) if not bit)
    bits = (last - first + 1) * rate / (1 << RATE_BITS)
    assert bits <= UartTransmitter.interval * len(TEXT)
    assert bits > UartTransmitter.interval * (len(TEXT) - 1)


def test_characters_with_pauses():
    line, _ = sent(TEXT, FAST, pauses=0.8)
    assert received(line, FAST) == [(c, 0, 0) for c in TEXT]
