"""A running simulator: the library of :mod:`lightmamba.device.sim.build`, called with ctypes."""

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int64, c_uint32, c_uint64, c_void_p
from dataclasses import astuple, dataclass
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.pace import paces
from lightmamba.arch.target import Channel
from lightmamba.common.errors import DeviceError, InputError
from lightmamba.hardware.machine.faults import Fault

__all__ = ["MemoryChannel", "PortCounters", "Simulator", "Stalls", "Status", "from_target"]


@dataclass(frozen=True)
class Stalls:
    """Probabilities that a channel of AXI does nothing in a cycle; for tests."""

    ar: float = 0.0
    r: float = 0.0
    aw: float = 0.0
    w: float = 0.0
    b: float = 0.0

    def __post_init__(self) -> None:
        if worst := [p for p in astuple(self) if not 0 <= p < 1]:
            raise ValueError(f"a probability of stalling must be in 0..1, below 1, not {worst[0]}")

    @staticmethod
    def all(probability: float) -> "Stalls":
        """Stalls of one probability on every channel."""
        return Stalls(*5 * [probability])


@dataclass(frozen=True)
class MemoryChannel:
    """One memory of the model, with an address space of its own; ports may share it.

    Parameters
    ----------
    name
        Ports whose channels are equal share one, so different memories need different names.
    bytes_per_cycle
        Rate that reads and writes share.
    latency
        Cycles from an address (of a write: from its last data) to the first beat served.
    refresh_every, refresh_for
        Every ``refresh_every`` cycles it is unavailable for ``refresh_for``; 0: never.
    refresh_phase
        Cycle of that period in which it begins.
    turn
        Cycles lost by a change from reads to writes, or from writes to reads.
    outstanding
        Bursts that each port may have under way, in each direction.
    stalls, seed
        Random stalls; the same seed gives the same run.
    """

    name: str
    bytes_per_cycle: float | Fraction
    latency: int = 1
    refresh_every: int = 0
    refresh_for: int = 0
    refresh_phase: int = 0
    turn: int = 0
    outstanding: int = 64
    stalls: Stalls = Stalls()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.bytes_per_cycle <= 1 << 20:
            raise ValueError(f"{self.name}: bytes_per_cycle must be above 0 and at most 2**20")
        if self.latency < 1 or self.outstanding < 1:
            raise ValueError(f"{self.name}: latency and outstanding must be at least 1")
        if self.turn < 0:
            raise ValueError(f"{self.name}: turn must not be negative")
        if not 0 <= self.refresh_for <= max(0, self.refresh_every - 1):
            raise ValueError(f"{self.name}: refresh_for must be below refresh_every")


def from_target(
    channels: Sequence[Channel], clock_mhz: float, *, stalls: Stalls | None = None, seed: int = 0
) -> dict[str, tuple[MemoryChannel, ...]]:
    """Memories of each port of a target, in cycles of its clock.

    The rate between refreshes is such that the mean is the attainable one; the refreshes of the
    channels are spread evenly.
    """
    found: dict[str, tuple[MemoryChannel, ...]] = {}
    for n, (channel, pace) in enumerate(zip(channels, paces(channels, clock_mhz), strict=True)):
        memory = MemoryChannel(
            name=channel.name,
            bytes_per_cycle=pace.bytes_per_cycle,
            latency=pace.latency,
            refresh_every=pace.refresh_every,
            refresh_for=pace.refresh_for,
            refresh_phase=pace.refresh_phase,
            turn=pace.turn,
            stalls=stalls or Stalls(),
            seed=seed + n,
        )
        for port in channel.ports:
            found[port] = (*found.get(port, ()), memory)
    return found


class Status(IntEnum):
    """Why a run ended."""

    INTERRUPT = 0
    CYCLES = 1  # as many as it was given
    STUCK = 2  # nothing moved for too long
    VIOLATED = 3  # the protocol was broken; messages say how
    FINISHED = 4  # the design called $finish


class _ChannelConfig(ctypes.Structure):
    _fields_ = (
        *((name, c_int64) for name in ("rate", "byte_cost")),
        *(
            (name, c_uint64)
            for name in ("latency", "every", "pause", "phase", "turn", "outstanding")
        ),
        *((name, c_double) for name in ("ar", "r", "aw", "w", "b")),
        ("seed", c_uint64),
    )


@dataclass(frozen=True)
class PortCounters:
    """Traffic of a port since the simulator was made.

    Parameters
    ----------
    bytes_read, bytes_written, read_bursts, write_bursts : int
    wait : int
        Cycles in which data were owed and none were there.
    blocked : int
        Cycles in which data were there and the machine did not take them.
    write_wait : int
        Cycles in which a beat to write was not taken.
    """

    bytes_read: int
    bytes_written: int
    read_bursts: int
    write_bursts: int
    wait: int
    blocked: int
    write_wait: int


_SIGNATURES: Mapping[str, tuple[Any, ...]] = {  # result, then arguments after the machine
    "lm_destroy": (None,),
    "lm_error": (c_char_p,),
    "lm_messages": (c_char_p,),
    "lm_forget_messages": (None,),
    "lm_channel": (None, POINTER(_ChannelConfig)),
    "lm_attach": (None, c_uint64, c_uint64),
    "lm_map": (c_int, c_uint64, c_uint64, c_uint64, c_char_p, c_int),
    "lm_unmap_all": (None, c_uint64),
    "lm_memory_read": (c_int, c_uint64, c_uint64, c_void_p, c_uint64),
    "lm_memory_write": (c_int, c_uint64, c_uint64, c_void_p, c_uint64),
    "lm_memory_trace": (c_int, c_uint64, c_char_p),
    "lm_reset": (None, c_uint64),
    "lm_cycle": (c_uint64,),
    "lm_run": (c_int, c_uint64, c_uint64),
    "lm_host_write": (c_int, c_uint64, c_uint32),
    "lm_host_read": (c_int, c_uint64, POINTER(c_uint32)),
    "lm_host_stall": (None, c_double, c_uint64),
    "lm_plant": (None, c_uint64, c_int, c_int, c_uint64),
    "lm_counters": (None, c_uint64, c_void_p),
    "lm_probing": (None, c_int),
    "lm_probe_count": (c_uint64, c_uint64),
    "lm_probe_take": (None, c_uint64, c_void_p, c_void_p),
    "lm_trace": (c_int, c_char_p),
}


class Simulator:
    """One machine with its memory.

    Parameters
    ----------
    library
        What :func:`lightmamba.device.sim.build.build_simulator` made.
    ports
        Names of the ports that it was built with, in that order.
    probes
        Names and sizes likewise.
    channels
        Memories of each port, which takes the one that has the address. Equal ones are the same
        memory.
    """

    def __init__(
        self,
        library: Path,
        ports: Sequence[str],
        channels: Mapping[str, Sequence[MemoryChannel]],
        probes: Sequence[tuple[str, int]] = (),
    ) -> None:
        if set(channels) != set(ports):
            raise ValueError(f"channels must name every port: {', '.join(ports)}")
        self._library = _load(library)
        self._machine = c_void_p(self._library.lm_create())
        self._ports = {name: n for n, name in enumerate(ports)}
        self._probes = {name: (n, size) for n, (name, size) in enumerate(probes)}
        self._memories: dict[str, int] = {}
        for channel in dict.fromkeys(one for each in channels.values() for one in each):
            if channel.name in self._memories:
                raise ValueError(f"two channels are called {channel.name}")
            self._memories[channel.name] = len(self._memories)
            self._call("channel", byref(_config(channel)))
        for name, place in self._ports.items():
            for channel in channels[name]:
                self._call("attach", place, self._memories[channel.name])
        self.reset()

    def close(self) -> None:
        """Free everything; waveforms are complete only then."""
        if self._machine:
            self._call("destroy")
            self._machine = c_void_p()

    def __del__(self) -> None:
        if getattr(self, "_machine", None):
            self.close()

    def reset(self, cycles: int = 4) -> None:
        """Reset the machine; what memory had under way is forgotten, its bytes stay."""
        self._call("reset", cycles)

    @property
    def cycle(self) -> int:
        """Cycles since the simulator was made."""
        return int(self._call("cycle"))

    def run(self, cycles: int, *, watchdog: int = 50_000) -> Status:
        """Step until the interrupt, at most ``cycles`` cycles.

        Parameters
        ----------
        cycles
            Most cycles.
        watchdog
            Give up when nothing moved (no transfer, no record) for longer; 0: never.
        """
        return Status(self._call("run", cycles, watchdog))

    def host_write(self, address: int, value: int) -> None:
        """Write a register through the host port, stepping the clock."""
        self._check(self._call("host_write", address, value), f"writing register {address:#x}")

    def host_read(self, address: int) -> int:
        """Read a register through the host port, stepping the clock."""
        value = c_uint32()
        failed = self._call("host_read", address, byref(value))
        self._check(failed, f"reading register {address:#x}")
        return value.value

    def host_stall(self, probability: float, seed: int = 0) -> None:
        """Let the host port's channels stall at random."""
        self._call("host_stall", probability, seed)

    def map(
        self, memory: str, address: int, count: int, file: Path | None = None, *,
        shared: bool = False,
    ) -> None:  # fmt: skip
        """Give a channel a region: zeros, or a private copy of a file and zeros after it.

        A ``shared`` file gets what the accelerator writes, and shows what others write to it.
        """
        path = None if file is None else str(file).encode()
        failed = self._call("map", self._memories[memory], address, count, path, shared)
        self._check(failed, f"the region of {count} bytes at {address:#x} of {memory}")

    def unmap_all(self) -> None:
        """Forget every region; reset afterwards, for bursts may be under way."""
        for place in self._memories.values():
            self._call("unmap_all", place)

    def read_memory(self, memory: str, address: int, count: int) -> NDArray[np.uint8]:
        """Copy bytes out of a channel's memory."""
        values = np.empty(count, np.uint8)
        failed = self._call(
            "memory_read", self._memories[memory], address, values.ctypes.data, count
        )
        self._check(failed, f"reading {count} bytes at {address:#x} of {memory}")
        return values

    def write_memory(self, memory: str, address: int, values: NDArray[Any] | bytes) -> None:
        """Copy bytes into a channel's memory."""
        raw = np.frombuffer(values, np.uint8) if isinstance(values, bytes) else values
        raw = np.ascontiguousarray(raw)
        failed = self._call(
            "memory_write", self._memories[memory], address, raw.ctypes.data, raw.nbytes
        )
        self._check(failed, f"writing {raw.nbytes} bytes at {address:#x} of {memory}")

    def plant(self, port: str, fault: Fault, *, write: bool = False, after: int = 0) -> None:
        """Let memory answer wrongly once, on a port, after some right answers.

        A beat that is read is wrong, or the response to a write, which can only be an error. The
        other beats of a burst that ends early never come.
        """
        self._call("plant", self._ports[port], fault, write, after)

    def counters(self, port: str) -> PortCounters:
        """Traffic of a port so far."""
        values = np.zeros(7, np.uint64)
        self._call("counters", self._ports[port], values.ctypes.data)
        return PortCounters(*values.tolist())

    def probing(self, on: bool) -> None:
        """Switch all probes on or off."""
        self._call("probing", on)

    def take(self, probe: str) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """Records of a probe since the last call, (records, bytes), and the cycle of each."""
        place, size = self._probes[probe]
        count = int(self._call("probe_count", place))
        records, low = np.empty((count, size), np.uint8), np.empty(count, np.uint32)
        self._call("probe_take", place, records.ctypes.data, low.ctypes.data)
        # The simulator keeps 32 bits of a cycle; the others follow from now.
        age = (np.uint32(self.cycle & 0xFFFFFFFF) - low).astype(np.uint64)
        return records, np.uint64(self.cycle) - age

    def trace(self, file: Path | None) -> None:
        """Write waveforms from now on to an FST file; None ends it."""
        if self._call("trace", None if file is None else str(file).encode()):
            raise InputError(
                f"cannot write waveforms to {file}; give another place, and a simulator "
                f"that was built with trace=True"
            )

    def memory_trace(self, memory: str, file: Path | None) -> None:
        """Write a channel's requests to a file from now on; None ends it.

        A line per 64 bytes: address, READ or WRITE, cycle, as DRAMsim3 reads them.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        path = None if file is None else str(file).encode()
        if self._call("memory_trace", self._memories[memory], path):
            raise InputError(f"cannot write the requests of {memory} to {file}; "
                             f"give another place")  # fmt: skip

    def messages(self) -> list[str]:
        """Errors so far: bursts outside memory, violations of the protocol."""
        text: bytes = self._call("messages")
        return text.decode(errors="replace").splitlines()

    def forget_messages(self) -> None:
        """Begin a new list of messages; a broken protocol no longer ends runs."""
        self._call("forget_messages")

    def _call(self, name: str, *arguments: Any) -> Any:
        if not self._machine:
            raise ValueError("the simulator is closed")
        return getattr(self._library, f"lm_{name}")(self._machine, *arguments)

    def _check(self, failed: int, doing: str) -> None:
        if failed:
            raise DeviceError(f"{doing}: {self._call('error').decode(errors='replace')}")


def _load(library: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(library))
    loaded.lm_create.restype = c_void_p
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, [c_void_p, *arguments]
    return loaded


def _config(channel: MemoryChannel) -> _ChannelConfig:
    rate = Fraction(channel.bytes_per_cycle).limit_denominator(1 << 16)
    return _ChannelConfig(
        rate.numerator, rate.denominator, channel.latency,
        channel.refresh_every if channel.refresh_for else 0, channel.refresh_for,
        channel.refresh_phase, channel.turn, channel.outstanding, *astuple(channel.stalls),
        channel.seed & (1 << 64) - 1,
    )  # fmt: skip
