"""A simulated accelerator as a device, with the probes that only a simulation has."""

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.common.errors import DeviceError, InputError, installing
from lightmamba.common.files import replace_file
from lightmamba.common.tools import cache_folder, is_cached
from lightmamba.device.host.device import Device
from lightmamba.device.sim.build import build_simulator
from lightmamba.device.sim.library import CACHE
from lightmamba.device.sim.observe import Record
from lightmamba.device.sim.simulator import Simulator, Stalls, Status, from_target
from lightmamba.hardware.machine.artifact import Artifact, Region, build_hash
from lightmamba.hardware.machine.ports import ports
from lightmamba.hardware.machine.probes import Probe, probes

__all__ = [
    "Placement",
    "SimDevice",
    "machine_simulator",
    "machine_verilog",
    "open_device",
    "open_simulated",
    "verilog_of",
]

TOP = "lightmamba"
SLICE = 1 << 18  # cycles between two chances to interrupt from the keyboard
PACKAGE = Path(__file__).parents[2]
MADE_OF = (  # what the Verilog follows from
    *("hardware/rtl/**/*.py", "hardware/machine/*.py", "arch/*.py", "numerics/*.py"),
    *("blocks/*.py", "blocks/*/*.py"),
)
Placement = Callable[[str, int, int], int]


class SimDevice(Device):
    """The hardware in Verilator.

    Parameters
    ----------
    simulator
        The machine and its memory.
    observed
        Probes that it was built with.
    watchdog
        Cycles without any transfer after which it counts as stuck.
    placement
        Address at which a channel begins, from its name, size and alignment; as a board's
        allocator would choose it. Without it 0, or one after the other where they share a port.
    shared
        Channels that share a port with another one.
    """

    def __init__(
        self,
        simulator: Simulator,
        observed: Sequence[Probe] = (),
        *,
        watchdog: int = 50_000,
        placement: Placement | None = None,
        shared: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.simulator, self.observed, self.watchdog = simulator, tuple(observed), watchdog
        self.placement, self.shared = placement, frozenset(shared)

    def close(self) -> None:
        """Free the simulator."""
        self.simulator.close()

    def read32(self, offset: int) -> int:
        """Read a register, stepping the clock until it answers."""
        return self.simulator.host_read(offset)

    def write32(self, offset: int, value: int) -> None:
        """Write a register, stepping the clock until it answers."""
        self.simulator.host_write(offset, value)

    def read_memory(self, channel: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of a channel's memory; takes no cycles."""
        return self.simulator.read_memory(channel, address, count)

    def write_memory(self, channel: str, address: int, values: NDArray[np.uint8]) -> None:
        """Copy bytes into a channel's memory; takes no cycles."""
        self.simulator.write_memory(channel, address, values)

    def allocate(self, channels: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """Let each channel begin where the constructor says, or at 0.

        Channels that share a port follow each other, as each address belongs to one of them.
        """
        self.simulator.unmap_all()
        found, free = {}, 0
        for name, (size, alignment) in channels.items():
            if self.placement is not None:
                found[name] = self.placement(name, size, alignment)
            elif name in self.shared:
                found[name] = free = -(-free // alignment) * alignment
                free += size
            else:
                found[name] = 0
            if size:
                self.simulator.map(name, found[name], size)
        return found

    def place(self, artifact: Artifact, regions: Sequence[Region]) -> None:
        """Map the images instead of copying them; what the RTL writes stays in this process."""
        self.simulator.unmap_all()
        for region in regions:
            file = artifact.path / region.file if region.file else None
            if region.bytes:
                self.simulator.map(region.channel, self.address(region), region.bytes, file)

    def reset_machine(self) -> None:
        """Reset the hardware and the memory's queues."""
        self.simulator.reset()

    def wait_interrupt(self) -> None:
        """Step until the interrupt."""
        status = Status.CYCLES
        while status == Status.CYCLES:
            status = self.simulator.run(SLICE, watchdog=self.watchdog)
        self._refuse(status)

    def _refuse(self, status: Status) -> None:
        """Raise an error unless the accelerator is done and all went well."""
        messages = self.simulator.messages()
        if status == Status.INTERRUPT and not messages:
            return
        why = {
            Status.INTERRUPT: "memory was asked for what it does not have",
            Status.STUCK: f"nothing moved for {self.watchdog} cycles",
            Status.VIOLATED: "the hardware broke the rules of AXI",
            Status.FINISHED: "the simulation ended by itself",
        }[status]
        more = f"; {messages[0]}" if messages else ""
        said = f"in cycle {self.simulator.cycle}: {why}{more}"
        raise self.hangs(said) if status == Status.STUCK else DeviceError(said)

    def trace_memory(self, files: Mapping[str, Path]) -> None:
        """Write the requests to each of these channels to a file, from now on.

        Raises
        ------
        InputError
            If a file cannot be written.
        """
        for channel, file in files.items():
            self.simulator.memory_trace(channel, file)

    def probes(self) -> dict[str, Record]:
        """Records of each probe since the last call."""
        found = {}
        for probe in self.observed:
            records, cycles = self.simulator.take(probe.name)
            found[probe.name] = Record(records.view(probe.dtype)[:, 0], cycles, probe.elements)
        return found


def machine_verilog(arch: ArchConfig, *, observed: bool = True, cache: Path | None = None) -> str:
    """Verilog of a machine; making it takes long, so it is kept in the cache.

    Raises
    ------
    InputError
        If Amaranth is not installed.
    """
    try:
        amaranth = importlib.metadata.version("amaranth")
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            "simulation makes the hardware with amaranth, and it is not here; "
            f"install it with: {installing('rtl')}"
        ) from error
    key = hashlib.sha256(repr((arch, observed, amaranth)).encode())
    for file in (file for each in MADE_OF for file in sorted(PACKAGE.glob(each))):
        key.update(file.read_bytes())
    path = cache_folder(CACHE, cache) / f"{TOP}-{key.hexdigest()[:20]}.v"
    if is_cached(path):
        return path.read_text(encoding="utf-8")

    from lightmamba.hardware.rtl.top import to_verilog  # pulls in Amaranth: not before it is needed

    text = to_verilog(arch, observed=observed, build_hash=build_hash(arch))
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(text, encoding="utf-8")
    replace_file(aside, path)
    return text


def verilog_of(artifact: Artifact, cache: Path | None = None) -> str:
    """Verilog of a build's machine without probes: the build's file, or generated if it has none.

    Raises
    ------
    InputError
        If the build has none and Amaranth is not installed.
    """
    if artifact.verilog is None:
        return machine_verilog(artifact.arch, observed=False, cache=cache)
    return artifact.verilog.read_text(encoding="utf-8")


def machine_simulator(
    arch: ArchConfig, *, trace: bool = False, cache: Path | None = None, jobs: int = 2
) -> Path:
    """Simulator of a machine with its probes, built or from the cache.

    Parameters
    ----------
    arch
        The machine.
    trace, cache, jobs
        As of :func:`lightmamba.device.sim.library.build_library`.

    Raises
    ------
    InputError
        If a tool or Amaranth is missing.
    """
    return build_simulator(
        machine_verilog(arch, cache=cache), ports(arch), _sizes(probes(arch)), top=TOP, trace=trace,
        cache=cache, jobs=jobs,
    )  # fmt: skip


def open_device(
    artifact: Artifact,
    *,
    observed: bool = True,
    waves: Path | None = None,
    stalls: float = 0.0,
    seed: int = 0,
    cache: Path | None = None,
    placement: Placement | None = None,
    load: bool = True,
    sequences: int = 1,
    netlist: str | None = None,
) -> SimDevice:
    """Simulate the accelerator of a build.

    Parameters
    ----------
    artifact
        The build.
    observed
        Record what the probes show. The simulator is the same one either way, built once.
    waves
        FST file to write all signals to, from the reset on.
    stalls
        Probability that a channel of memory or host does nothing in a cycle.
    seed
        Of the stalls.
    cache
        Folder of built simulators.
    placement
        Where channels begin, as for :class:`SimDevice`.
    load
        Load the build too.
    sequences
        How many may have their states on the device at a time.
    netlist
        Verilog of the top level to simulate in place of the RTL, such as
        :func:`lightmamba.hardware.synth.netlist_verilog` writes; it has no probes.

    Raises
    ------
    InputError
        If a tool is missing, or an argument is wrong.
    """
    if not 0 <= stalls <= 0.9:
        raise InputError(f"stalls must be a probability in 0..0.9, not {stalls}; try 0.2")
    arch, target = artifact.arch, artifact.target
    seen = probes(arch) if netlist is None else ()
    names = [port.name for port in ports(arch)]
    trace = waves is not None
    if netlist is None:
        library = machine_simulator(arch, trace=trace, cache=cache)
    else:
        library = build_simulator(netlist, ports(arch), top=TOP, trace=trace, cache=cache)
    memory = from_target(target.channels, target.clock_mhz, stalls=Stalls.all(stalls), seed=seed)
    simulator = Simulator(library, names, {name: memory[name] for name in names}, _sizes(seen))
    simulator.probing(observed)
    if waves is not None:
        simulator.trace(waves)
    simulator.host_stall(stalls, seed)
    together = [target.channels_of(name) for name in names]
    shared = {channel.name for each in together if len(each) > 1 for channel in each}
    device = SimDevice(simulator, seen if observed else (), placement=placement, shared=shared)
    if load:
        device.load(artifact, sequences)
    return device


def open_simulated(artifact: Artifact, *, cache: str = "", stalls: float = 0.0) -> SimDevice:
    """Simulate a build without looking inside: the device ``sim``."""
    folder = Path(cache) if cache else None
    return open_device(artifact, observed=False, cache=folder, stalls=float(stalls), load=False)


def _sizes(observed: Sequence[Probe]) -> list[tuple[str, int]]:
    """Names of probes and bytes of their records."""
    return [(probe.name, probe.bytes) for probe in observed]
