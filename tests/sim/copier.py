"""The machine of copier.v, built and loaded."""

import re
from pathlib import Path

from lightmamba.arch.config import ArchConfig
from lightmamba.device.sim.build import build_simulator
from lightmamba.device.sim.simulator import MemoryChannel, Simulator, Status
from lightmamba.hardware.machine.artifact import build_hash
from lightmamba.hardware.machine.ports import Port
from lightmamba.hardware.machine.registers import INTERFACE, offsets

PORTS = (Port("lane0", 128, ("lane0",), ()), Port("aux", 128, (), ("logits",)))
PROBES = (("beat", 24), ("done", 2))
SOURCE, TARGET = 0x10_0000, 0x4_0020_0000  # the second needs more than 32 bits
WRITE, IGNORE_BORDERS, EARLY_LAST, NEVER_FINISH, SLOW_READY, HALF = (1 << n for n in range(6))


def verilog() -> str:
    """Source with the offsets of the registers filled in."""
    text = (Path(__file__).parent / "copier.v").read_text()
    values = offsets() | {"build_hash": build_hash(ArchConfig()), "interface": INTERFACE}
    return re.sub(r"@(\w+)@", lambda found: str(values[found[1]]), text)


def build(trace: bool = False, cache: Path | None = None) -> Path:
    return build_simulator(verilog(), PORTS, PROBES, trace=trace, cache=cache)


def simulator(
    lane0: MemoryChannel, aux: MemoryChannel | None = None, *, trace: bool = False
) -> Simulator:
    """A simulator with a MiB of memory at both places; without ``aux`` one channel is shared."""
    channels = {"lane0": lane0, "aux": aux or lane0}
    memories = {port: (channel,) for port, channel in channels.items()}
    sim = Simulator(build(trace), ["lane0", "aux"], memories, PROBES)
    sim.map(channels["lane0"].name, SOURCE, 1 << 20)
    sim.map(channels["aux"].name, TARGET, 1 << 20)
    return sim


def copy(
    sim: Simulator, beats: int, *, mode: int = WRITE, token: int = 0, source: int = SOURCE
) -> tuple[Status, int]:
    """Run one copy; why it ended, and the cycles from start to interrupt."""
    at = offsets()
    for name, value in (
        ("token", token), ("layers", mode), ("layers_beats", beats), ("interrupt", 3),
        ("lane_base", source & 0xFFFFFFFF), ("logits_base", TARGET & 0xFFFFFFFF),
    ):  # fmt: skip
        sim.host_write(at[name], value)
    sim.host_write(at["lane_base"] + 4, source >> 32)
    sim.host_write(at["logits_base"] + 4, TARGET >> 32)
    sim.host_write(at["start"], 0)
    begin = sim.cycle
    return sim.run(1_000_000, watchdog=5_000), sim.cycle - begin
