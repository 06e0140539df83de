"""A package in the simulator: only its own files, through the wrapper, at a board's addresses.

A package of a whole system is simulated as a board, from its serial line to the pins of its memory.
"""

import json
from pathlib import Path

from lightmamba.common.errors import InputError
from lightmamba.common.files import interrupted
from lightmamba.device.host.device import Flags
from lightmamba.device.package.board import Board
from lightmamba.device.package.check import MANIFEST
from lightmamba.device.package.contents import MAP
from lightmamba.device.package.design import CONTROL, KERNEL, Design, Interface, design
from lightmamba.device.package.ecp5 import ACCELERATOR, SYSTEM
from lightmamba.device.package.ulx3s_device import SimulatedUlx3s, simulated_ulx3s
from lightmamba.device.package.write import DATA
from lightmamba.device.sim.build import Names, build_simulator
from lightmamba.device.sim.device import Placement, SimDevice
from lightmamba.device.sim.simulator import Simulator, Stalls, Status, from_target
from lightmamba.hardware.compiler import read_build
from lightmamba.hardware.machine.ports import Port

__all__ = ["PackagedDevice", "open_package", "packaged_design"]

POLL_CYCLES = 256  # between two readings of the status, where there is no interrupt


class PackagedDevice(SimDevice):
    """A package's Verilog in Verilator; where the board has no interrupt, the status is polled."""

    def __init__(self, simulator: Simulator, made: Design, placement: Placement) -> None:
        super().__init__(simulator, placement=placement)
        self.made = made

    def wait_interrupt(self) -> None:
        """Step until the interrupt, or until the status says done."""
        if self.made.board.interrupt:
            super().wait_interrupt()
            return
        moved, since = self._moved(), self.simulator.cycle
        while Flags.DONE not in self.status:
            status = self.simulator.run(POLL_CYCLES, watchdog=0)
            if status != Status.CYCLES:
                self._refuse(status)
            if (now := self._moved()) != moved:
                moved, since = now, self.simulator.cycle
            elif self.simulator.cycle - since > self.watchdog:
                self._refuse(Status.STUCK)
        self._refuse(Status.INTERRUPT)

    def _moved(self) -> int:
        """Bytes of all ports so far: a reading of the status does not count."""
        both = [self.simulator.counters(one.name) for one in self.made.interfaces]
        return sum(one.bytes_read + one.bytes_written for one in both)


def packaged_design(folder: Path) -> Design:
    """Build of a package, from its own files.

    Raises
    ------
    InputError
        If the folder is no package.
    """
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"{folder} is no package; make one with: "
            f"lightmamba package BUILD --board NAME -o {folder}{interrupted(folder)}"
        )
    board = json.loads((folder / MAP).read_text(encoding="utf-8"))["board"]
    return design(read_build(folder / DATA), Board.load(board))


def open_package(
    folder: Path,
    *,
    placement: Placement | None = None,
    stalls: float = 0.0,
    seed: int = 0,
    cache: Path | None = None,
    line: bool = False,
) -> PackagedDevice | SimulatedUlx3s:
    """Simulate a package, with its build loaded.

    Nothing is read from outside the folder. A package for a ULX3S gives a simulated board, whose
    memory controller decides when memory pauses.

    Parameters
    ----------
    folder
        The package.
    placement
        Where channels begin; by default at the addresses of the board.
    stalls, seed
        Random pauses of memory and host.
    cache
        Folder of built simulators.
    line
        Of a ULX3S: whether memory is read and written over the serial line too.

    Raises
    ------
    InputError
        If the folder is no package, a tool is missing, or an argument is not for its board.
    """
    made = packaged_design(folder)
    artifact = made.artifact
    if made.board.flow == "ecp5":
        if placement is not None or stalls:
            raise InputError(
                f"a simulated {made.board.name} decides itself where channels lie and when memory "
                f"pauses; leave placement and stalls out"
            )
        whole = simulated_ulx3s(made, _text(folder, SYSTEM, ACCELERATOR), line=line, cache=cache)
        whole.load(artifact)
        return whole
    if line:
        raise InputError(f"{made.board.name} has no serial line; leave line out")
    verilog = _text(folder, f"rtl/{KERNEL}.v", "rtl/wrapper.v")
    names = Names(
        port="m_axi_{port}_", host=f"{CONTROL}_", clock="ap_clk", reset="ap_rst_n",
        reset_low=True, interrupt="interrupt" if made.board.interrupt else "",
    )  # fmt: skip
    ports = [_port(one) for one in made.interfaces]
    library = build_simulator(verilog, ports, top=KERNEL, names=names, cache=cache)
    channels = from_target(
        artifact.target.channels, artifact.target.clock_mhz, stalls=Stalls.all(stalls), seed=seed
    )
    simulator = Simulator(
        library,
        [one.name for one in made.interfaces],
        {one.name: channels[one.ports[0].name] for one in made.interfaces},
    )
    simulator.host_stall(stalls, seed)
    bases = made.placed()
    device = PackagedDevice(simulator, made, placement or (lambda name, *_: bases[name]))
    device.load(artifact)
    return device


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
