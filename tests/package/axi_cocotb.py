"""Run by cocotb inside Verilator: a packaged accelerator on the AXI slaves of cocotbext-axi.

The host here knows only the package's map.json and its data: it writes registers, relocates
addresses, starts a token and reads logits from memory.
"""

import hashlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

SIZE = 1 << 22  # of the memory that all interfaces share; addresses count modulo this
SHARE = SIZE // 8
CACHE, PROT, INCR, BURST = 0b0011, 0, 1, 16


def pauses(seed: int, chance: float) -> Iterator[int]:
    """Endless random pauses."""
    rng = random.Random(seed)
    while True:
        yield int(rng.random() < chance)


class Machine:
    """The accelerator with its memory, as its map describes it."""

    def __init__(self, dut: Any, seed: int, chance: float) -> None:
        self.dut = dut
        self.folder = Path(os.environ["LIGHTMAMBA_PACKAGE"])
        self.map = json.loads((self.folder / "map.json").read_text())
        self.at = {one["name"]: one["offset"] for one in self.map["registers"]}
        self.bits = {one["name"]: one["bits"] for one in self.map["registers"]}
        channels = self.map["channels"]
        # At the far end of each window, so that all address bits count.
        self.bases = {
            one["name"]: one["windows"][0][0] + one["windows"][0][1] - SIZE + n * SHARE
            for n, one in enumerate(channels)
        }
        self.windows = {
            bus: [tuple(w) for one in channels if bus in one["interfaces"] for w in one["windows"]]
            for one in channels for bus in one["interfaces"]
        }  # fmt: skip
        Clock(dut.ap_clk, 10, "ns").start()
        low = {"reset_active_level": False}
        self.rams: list[Any] = []
        for n, bus in enumerate(sorted(self.windows)):
            mem = self.rams[0].mem if self.rams else None
            ram = AxiRam(AxiBus.from_prefix(dut, bus), dut.ap_clk, dut.ap_rst_n, size=SIZE,
                         mem=mem, **low)  # fmt: skip
            self.rams.append(ram)
            if chance:
                for k, channel in enumerate(
                    (ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
                     ram.read_if.ar_channel, ram.read_if.r_channel)
                ):  # fmt: skip
                    channel.set_pause_generator(pauses(seed + 5 * n + k, chance))
        control = AxiLiteBus.from_prefix(dut, "s_axi_control")
        self.host = AxiLiteMaster(control, dut.ap_clk, dut.ap_rst_n, **low)

    async def reset(self) -> None:
        """Hold the reset for a few cycles."""
        self.dut.ap_rst_n.value = 0
        for _ in range(6):
            await RisingEdge(self.dut.ap_clk)
        self.dut.ap_rst_n.value = 1
        for _ in range(6):
            await RisingEdge(self.dut.ap_clk)

    async def write(self, name: str, value: int) -> None:
        """Write a register, both halves where it is wide."""
        for n in range(self.bits[name] // 32):
            await self.host.write_dword(self.at[name] + 4 * n, value >> 32 * n & 0xFFFFFFFF)

    async def read(self, name: str) -> int:
        """Read a register of 32 bits."""
        return int(await self.host.read_dword(self.at[name]))

    def address(self, region: dict[str, Any]) -> int:
        """Where a region lies."""
        return int(self.bases[region["channel"]] + region["address"])

    async def load(self) -> None:
        """Images into memory, program and registers into the accelerator."""
        for region in self.map["regions"]:
            data = bytes(region["bytes"])
            if region["file"] is not None:
                data = (self.folder / "data" / region["file"]).read_bytes()
            assert len(data) <= SHARE
            self.rams[0].write(self.address(region) % SIZE, data)
        words = (self.folder / "data/program.bin").read_bytes()
        await self.write("control", 0)
        await self.write("program_index", 0)
        for at in range(0, len(words), 4):
            await self.write("program_data", int.from_bytes(words[at : at + 4], "little"))
        for name, value in self.map["settings"].items():
            await self.write(name, value)
        for one in self.map["relocation"]:
            value = self.bases[one["channel"]] + one["offset"]
            for n in range(2):
                half = value >> 32 * n & 0xFFFFFFFF
                await self.host.write_dword(one["register_offset"] + 4 * n, half)
        await self.write("interrupt", 3)
        await self.write("control", 1)

    async def token(self, token: int, position: int) -> str:
        """Run one token; the hash of its logits.

        Where the state lies twice, the copy that the last token wrote is read now.
        """
        if position:
            read, written = self.at["slot_read_0"], self.at["slot_write_0"]
            before, after = [await self.host.read_qword(at) for at in (read, written)]
            await self.host.write_qword(read, after)
            await self.host.write_qword(written, before)
        await self.write("token", token)
        await self.write("chain", 0)
        await self.write("position", position)
        await self.write("start", int(position == 0) | 2)
        for _ in range(4000):
            for _ in range(50):
                await RisingEdge(self.dut.ap_clk)
            if await self.read("status") & 2:
                break
        status = await self.read("status")
        assert status & 2, f"status {status:#x}"
        assert not status & 0b11000, f"status {status:#x}"
        await self.write("interrupt", 3)
        (region,) = [one for one in self.map["regions"] if one["name"] == "logits"]
        vocab = json.loads((self.folder / "data/manifest.json").read_text())["model"]["config"]
        raw = self.rams[0].read(self.address(region) % SIZE, 4 * vocab["vocab_size"])
        return hashlib.sha256(raw).hexdigest()

    async def watch(self, bus: str) -> None:
        """Hold the address channels of an interface to the rules of AXI4 and of the board."""
        dut, held = self.dut, dict[str, tuple[int, ...]]()
        beat = len(getattr(dut, f"{bus}_rdata")) // 8
        names = ("addr", "len", "size", "burst", "id", "cache", "prot", "lock", "qos")
        while True:
            await ReadOnly()
            for channel in ("ar", "aw"):
                read = {n: int(getattr(dut, f"{bus}_{channel}{n}").value) for n in names}
                valid = int(getattr(dut, f"{bus}_{channel}valid").value)
                ready = int(getattr(dut, f"{bus}_{channel}ready").value)
                if channel in held:
                    assert valid, f"{bus} {channel}: an offer was taken back"
                    assert held[channel] == tuple(read.values()), f"{bus} {channel}: it changed"
                    held.pop(channel)
                if not valid:
                    continue
                if not ready:
                    held[channel] = tuple(read.values())
                last = read["addr"] + (read["len"] + 1) * beat - 1
                assert read["len"] < BURST
                assert 1 << read["size"] == beat
                assert (read["burst"], read["cache"], read["prot"]) == (INCR, CACHE, PROT)
                assert read["lock"] == read["qos"] == 0
                assert read["addr"] // 4096 == last // 4096
                assert any(
                    base <= read["addr"] and last < base + size for base, size in self.windows[bus]
                ), f"{bus} {channel}: {read['addr']:#x}"
            await RisingEdge(dut.ap_clk)


async def tokens(dut: Any, seed: int, chance: float, count: int) -> None:
    """Some tokens, their logits those of the engine."""
    machine = Machine(dut, seed, chance)
    await machine.reset()
    for bus in machine.windows:
        cocotb.start_soon(machine.watch(bus))
    assert await machine.read("magic") == machine.map["magic"]
    assert await machine.read("hash") == machine.map["hash"]
    await machine.load()
    steps = json.loads((machine.folder / "driver/expected.json").read_text())["steps"]
    for n, step in enumerate(steps[:count]):
        assert await machine.token(step["token"], n) == step["logits_sha256"], f"token {n}"
        assert await machine.read("next") == step["next"]


@cocotb.test()
async def tokens_without_pauses(dut: Any) -> None:
    await tokens(dut, 1, 0.0, 3)


@cocotb.test()
async def tokens_with_pauses_everywhere(dut: Any) -> None:
    await tokens(dut, 2, 0.3, 2)
