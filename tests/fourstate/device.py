"""A machine in a four-state simulator, Icarus Verilog, as a device of the host program."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from lightmamba.common.errors import DeviceError
from lightmamba.device.host.device import Device
from lightmamba.device.sim.device import verilog_of
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.ports import ports
from tests.fourstate.testbench import between, without_values

__all__ = ["Icarus"]

HERE = Path(__file__).parent
DONE = "done"  # ends the answer to a command
SPARE = 1 << 14  # bytes of a channel behind its regions
LIMIT = 30_000  # cycles in which a pass ends


class Icarus(Device):
    """A build in Icarus Verilog: its registers and memory are unknown when it begins, or random.

    Parameters
    ----------
    artifact : Artifact
    folder : Path
        Of its files.
    stall : float
        Probability that a signal of a port does nothing in a cycle.
    registers : int or None
        Seed of random values that they begin with, instead of unknown ones.
    random : bool
        Whether memory begins with random bytes, instead of unknown ones.
    change : callable
        Changes the Verilog of the machine.

    Attributes
    ----------
    reports : list of str
        What was unknown and must not be, the first few.
    """

    def __init__(
        self, artifact: Artifact, folder: Path, *, stall: float = 0.0, registers: int | None = None,
        random: bool = False, change: Callable[[str], str] = str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kinds = artifact.arch.kinds
        verilog, extents = change(verilog_of(artifact)), artifact.extents()
        channels = {
            channel.name: (extents[channel.name][0] + SPARE, set(channel.ports))
            for channel in artifact.target.channels
        }
        self._channels = list(channels)
        made = between(verilog, ports(artifact.arch), channels, random)
        (folder / "machine.vh").write_text(made)
        rng = None if registers is None else Random(registers)
        (folder / "machine.v").write_text(without_values(verilog, rng, random))
        files = [folder / "machine.vvp", folder / "machine.v", *sorted(HERE.glob("*.v"))]
        words = ["iverilog", "-g2012", f"-I{folder}", "-s", "testbench", "-o", *map(str, files)]
        subprocess.run(words, check=True, stderr=subprocess.PIPE)  # warnings by the hundred
        self._process = subprocess.Popen(
            ["vvp", "-n", str(files[0])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.reports = list[str]()
        self._do(f"stall {round(stall * (2**32 - 1)):x}")
        self._do("reset")

    def _do(self, command: str) -> list[str]:
        """Lines that answer a command."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        to.write(command + "\n")
        to.flush()
        found = list[str]()
        while (line := back.readline().strip()) != DONE:
            if not line and self._process.poll() is not None:
                raise DeviceError(f"the simulator ended at {command[:40]}")
            (self.reports if line.startswith("unknown:") else found).append(line)
        return found

    def unknown(self) -> int:
        """How often something was not known that must be."""
        return int(self._do("unknown")[0])

    def run_for(self, cycles: int) -> None:
        """Let some cycles pass."""
        self._do(f"cycles {cycles}")

    def read32(self, offset: int) -> int:
        """Read a register; one that is not known is no number."""
        return int(self._do(f"read {offset:x}")[0], 16)

    def write32(self, offset: int, value: int) -> None:
        """Write a register."""
        self._do(f"write {offset:x} {value:x}")

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Store bytes; takes no time."""
        place = self._channels.index(channel)
        given = " ".join(f"{value:x}" for value in values.tolist())
        self._do(f"store {place} {address:x} {len(values)} {given}")

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Load bytes; takes no time. Those that are not known are no numbers."""
        (text,) = self._do(f"load {self._channels.index(channel)} {address:x} {count}")
        return np.frombuffer(bytes.fromhex(text), np.uint8)

    def wait_interrupt(self) -> None:
        """Let cycles pass until the interrupt is raised."""
        if self._do(f"wait {LIMIT}") != ["1"]:
            raise self.hangs(f"no interrupt in {LIMIT} cycles")

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """Every channel begins at 0."""
        return dict.fromkeys(channels, 0)

    def reset_machine(self) -> None:
        """Reset the machine; memory stays."""
        self._do("reset")

    def close(self) -> None:
        """End the simulator."""
        self._process.kill()
        self._process.communicate()  # closes the pipes
