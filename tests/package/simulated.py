"""Packages in Verilator: only their own files, through the wrapper, at a board's addresses."""

import json
import re
from pathlib import Path

from lightmamba.device.host.device import Flags
from lightmamba.device.package import Board
from lightmamba.device.package.design import CONTROL, KERNEL, Design, Interface, design
from lightmamba.device.package.ecp5 import ACCELERATOR, SYSTEM
from lightmamba.device.package.ulx3s_device import SimulatedUlx3s, simulated_ulx3s
from lightmamba.device.sim.build import build_simulator
from lightmamba.device.sim.device import SimDevice
from lightmamba.device.sim.simulator import Simulator, Stalls, Status, from_target
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.ports import Port

__all__ = ["PackagedDevice", "open_board", "open_package", "packaged_design"]

POLL_CYCLES = 256  # between two readings of the status, where there is no interrupt
MOST_CYCLES = 1_000_000  # of a start
NAMES = {"ap_clk": "clk", "interrupt": "interrupt"}  # of the wrapper; of a build


class PackagedDevice(SimDevice):
    """A package's Verilog in Verilator; where the board has no interrupt, the status is polled."""

    def __init__(self, simulator: Simulator, made: Design) -> None:
        bases = made.placed()
        super().__init__(simulator, placement=lambda name, *_: bases[name])
        self.made = made

    def wait_interrupt(self) -> None:
        """Step until the interrupt, or until the status says done."""
        if self.made.board.interrupt:
            super().wait_interrupt()
            return
        end = self.simulator.cycle + MOST_CYCLES
        while Flags.DONE not in self.status:
            status = self.simulator.run(POLL_CYCLES, watchdog=0)
            if status != Status.CYCLES or self.simulator.cycle > end:
                self._refuse(Status.STUCK if status == Status.CYCLES else status)
        self._refuse(Status.INTERRUPT)


def packaged_design(folder: Path) -> Design:
    """Build of a package, from its own files."""
    board = json.loads((folder / "map.json").read_text())["board"]
    return design(Artifact.read(folder / "data"), Board.load(board))


def open_package(folder: Path, *, stalls: float = 0.0, seed: int = 0) -> PackagedDevice:
    """Simulate a package with its build loaded, and random pauses of memory and host."""
    made = packaged_design(folder)
    artifact = made.artifact
    verilog = _text(folder, f"rtl/{KERNEL}.v", "rtl/wrapper.v")
    library = build_simulator(
        verilog + adapter(verilog), [_port(one) for one in made.interfaces], top="adapter"
    )
    channels = from_target(
        artifact.target.channels, artifact.target.clock_mhz, stalls=Stalls.all(stalls), seed=seed
    )
    simulator = Simulator(
        library,
        [one.name for one in made.interfaces],
        {one.name: channels[one.ports[0].name] for one in made.interfaces},
    )
    simulator.host_stall(stalls, seed)
    device = PackagedDevice(simulator, made)
    device.load(artifact)
    return device


def open_board(folder: Path, *, line: bool = False) -> SimulatedUlx3s:
    """Simulate a package for a ULX3S, from its serial line to the pins of its memory."""
    made = packaged_design(folder)
    device = simulated_ulx3s(made, _text(folder, SYSTEM, ACCELERATOR), line=line)
    device.load(made.artifact)
    return device


def adapter(verilog: str) -> str:
    """Module that gives the ports of a wrapper the names that those of a build have."""
    ports, pins = ["input clk, input rst, output interrupt"], [".ap_rst_n(~rst)"]
    head = verilog[verilog.index(f"module {KERNEL} (") :].partition("\n);")[0]
    for way, bits, name in re.findall(r"(input|output) wire (\[\d+:0\] )?(\w+)", head):
        if name == "ap_rst_n":
            continue
        bus, _, signal = name.rpartition("_")
        bus = bus.replace(CONTROL, "host").removeprefix("m_axi_")
        inner = NAMES.get(name, f"{bus}__{signal}")
        pins.append(f".{name}({inner})")
        if name not in NAMES:
            ports.append(f"{way} {bits}{inner}")
    return "\n".join([
        "", f"module adapter({', '.join(ports)});", f"  {KERNEL} packaged({', '.join(pins)});",
        "endmodule", "",
    ])  # fmt: skip


def _text(folder: Path, *names: str) -> str:
    """Text of several files of a package."""
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _port(interface: Interface) -> Port:
    """An interface as a port: who reads and writes through it."""
    read, write = interface.read, interface.write
    return Port(
        interface.name,
        interface.bits,
        read.readers if read else (),
        write.writers if write else (),
    )
