"""Builds for boards' drivers, and a simulator that stands where a board would."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightmamba.arch.target import Target
from lightmamba.device.sim.device import machine_simulator
from lightmamba.device.sim.simulator import Simulator, Status, from_target
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.ports import ports
from lightmamba.hardware.machine.probes import probes
from tests.sim.machines import CONFIG, TARGET, compiled

__all__ = ["Registers", "bare", "build_on"]


def build_on(folder: Path, names: Sequence[str], target: Target = TARGET) -> Artifact:
    """A build whose channels have these names, in the order of the target's."""
    channels = tuple(
        replace(channel, name=name) for channel, name in zip(target.channels, names, strict=True)
    )
    named = replace(target, name="-".join(names), channels=channels)
    return Artifact.read(compiled(folder, CONFIG, named))


def bare(artifact: Artifact) -> Simulator:
    """The accelerator of a build with empty memory, and no driver."""
    target, arch = artifact.target, artifact.arch
    sizes = [(probe.name, probe.bytes) for probe in probes(arch)]
    memory = from_target(target.channels, target.clock_mhz)
    names = [port.name for port in ports(arch)]
    simulator = Simulator(machine_simulator(arch), names, memory, sizes)
    simulator.probing(False)
    return simulator


class Registers:
    """The registers of a simulated accelerator as a mapped window, with its interrupt."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator, self.closed = simulator, False

    def read(self, offset: int) -> int:
        return self.simulator.host_read(offset)

    def write(self, offset: int, value: int) -> None:
        self.simulator.host_write(offset, value)

    def wait(self, seconds: float) -> bool:
        """As long as the clock runs: 100 MHz in no time."""
        return self.simulator.run(int(seconds * 100e6), watchdog=50_000) == Status.INTERRUPT

    def close(self) -> None:
        self.closed = True
