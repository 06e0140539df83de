"""Run by cocotb inside Verilator: a machine that copies, and a host port, on cocotbext-axi.

``tests/rtl/test_axi_cocotb.py`` builds the machine and starts this.
"""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.hardware.machine.registers import offsets

SIZE = 1 << 18
BEAT = 16
UNITS = (BEAT, BEAT, 8)  # what each client counts: two of beats, one of words
GUARD = 0xAA
CHANNELS = {"write_if": ("aw", "w", "b"), "read_if": ("ar", "r")}


def pauses(seed: int, chance: float) -> Iterator[int]:
    """Endless random pauses."""
    rng = random.Random(seed)
    while True:
        yield int(rng.random() < chance)


async def begin(dut: Any) -> None:
    """Clock and reset, all commands idle."""
    Clock(dut.clk, 10, "ns").start()
    for client in range(len(UNITS)):
        getattr(dut, f"from{client}__valid").value = 0
        getattr(dut, f"to{client}__valid").value = 0
    dut.rst.value = 1
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


async def give(dut: Any, stream: str, words: list[int]) -> None:
    """Send commands on one stream."""
    valid, ready = getattr(dut, f"{stream}__valid"), getattr(dut, f"{stream}__ready")
    for word in words:
        getattr(dut, f"{stream}__payload").value = word
        valid.value = 1
        while True:
            await ReadOnly()
            taken = int(ready.value)
            await RisingEdge(dut.clk)
            if taken:
                break
        valid.value = 0


async def watch(dut: Any, counts: list[int]) -> None:
    """Count commands done, and hold the port to our own rules."""
    while True:
        await ReadOnly()
        assert dut.axi__rready.value == 1
        assert dut.axi__bready.value == 1
        for channel in ("ar", "aw"):
            if int(getattr(dut, f"axi__{channel}valid").value):
                first = int(getattr(dut, f"axi__{channel}addr").value)
                beats = int(getattr(dut, f"axi__{channel}len").value) + 1
                assert first // 4096 == (first + beats * BEAT - 1) // 4096
        for client in range(len(UNITS)):
            counts[client] += int(getattr(dut, f"done{client}").value)
        await RisingEdge(dut.clk)


@cocotb.test()
@cocotb.parametrize(
    (
        ("seed", "paused"),
        [(1, ""), (2, "aw w b ar r"), (3, "aw ar"), (4, "w r"), (5, "b")],
    )
)
async def copies(dut: Any, seed: int, paused: str) -> None:
    """Copy random ranges, three clients at once, and compare all of memory; some channels pause."""
    await begin(dut)
    ram = AxiRam(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst, size=SIZE)
    for side, channels in CHANNELS.items():
        for n, channel in enumerate(channels):
            if channel in paused.split():
                found = getattr(getattr(ram, side), f"{channel}_channel")
                found.set_pause_generator(pauses(seed + n, 0.4))
    rng = random.Random(seed)
    content = bytearray([GUARD]) * SIZE
    content[: SIZE // 2] = rng.randbytes(SIZE // 2)
    ram.write(0, bytes(content))
    share = SIZE // 2 // len(UNITS) // BEAT * BEAT
    reads: list[list[int]] = []
    writes: list[list[int]] = []
    for client, unit in enumerate(UNITS):
        reads.append([])
        writes.append([])
        target = SIZE // 2 + client * share + BEAT * rng.randrange(1, 64)
        for n in range(6):
            count = rng.choice([1, 15, 16, 17, rng.randrange(1, 200)])
            source = rng.randrange(0, SIZE // 2 - 200 * BEAT) // BEAT * BEAT
            zero = n == 3
            data = bytes(count * unit) if zero else bytes(content[source : source + count * unit])
            data += bytes(-len(data) % BEAT)
            content[target : target + len(data)] = data
            reads[-1].append(source | count << ADDRESS_BITS | zero << (ADDRESS_BITS + 32))
            writes[-1].append(target | count << ADDRESS_BITS)
            target += len(data) + BEAT * rng.randrange(0, 4)
    counts = [0] * len(UNITS)
    cocotb.start_soon(watch(dut, counts))
    for client in range(len(UNITS)):
        cocotb.start_soon(give(dut, f"from{client}", reads[client]))
        cocotb.start_soon(give(dut, f"to{client}", writes[client]))
    for _ in range(20_000):
        await RisingEdge(dut.clk)
        if counts == [len(w) for w in writes]:
            break
    assert counts == [len(w) for w in writes]
    for _ in range(50):
        await RisingEdge(dut.clk)
    assert counts == [len(w) for w in writes]
    now = ram.read(0, SIZE)
    differ = [at for at in range(SIZE) if now[at] != content[at]]
    assert not differ, f"{len(differ)} bytes differ, the first at {differ[0]:#x}"


@cocotb.test()
async def the_host_writes_and_reads(dut: Any) -> None:
    """Words and bytes, with pauses on every channel of the host's side."""
    await begin(dut)
    host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "host_"), dut.clk, dut.rst)
    for n, channel in enumerate(
        (host.write_if.aw_channel, host.write_if.w_channel, host.write_if.b_channel,
         host.read_if.ar_channel, host.read_if.r_channel)
    ):  # fmt: skip
        channel.set_pause_generator(pauses(n, 0.4))
    at = offsets()
    rng = random.Random(0)
    names = ("token", "chain", "position", "layers", "state_heads", "conv_state_words")
    values = {name: rng.getrandbits(32) for name in names}
    for name, value in values.items():
        await host.write_dword(at[name], value)
    for name, value in values.items():
        assert await host.read_dword(at[name]) == value
    await host.write(at["token"] + 1, b"\x5a")
    assert await host.read_dword(at["token"]) == values["token"] & ~0xFF00 | 0x5A00
    await host.write_qword(at["lane_base"], 0x12_3456_789A)
    assert await host.read_qword(at["lane_base"]) == 0x12_3456_789A
