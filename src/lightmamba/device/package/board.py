"""Boards: what a package needs to know of each, read from TOML."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.common.plain import build

__all__ = ["Board", "Controller", "Memory", "PortPins", "Window", "board_names"]

# Vitis kernel; a block design around the processors; a whole system by open tools.
FLOWS = ("kernel", "zynqmp", "versal", "ecp5")


@dataclass(frozen=True)
class Window:
    """A range of addresses behind which a memory lies."""

    base: int
    bytes: int

    def holds(self, base: int, count: int) -> bool:
        """Whether ``size`` bytes from ``base`` on lie in it."""
        return self.base <= base and base + count <= self.base + self.bytes


@dataclass(frozen=True)
class Memory:
    """One memory of a board, which one channel of a target describes.

    Parameters
    ----------
    channel : str
        The target's name of it.
    tag : str
        The vendor's name of it: a bank of the platform, or a region of the network on chip.
    windows : tuple of Window
        Where it can be addressed; a block of memory lies within one of them, the first by choice.
    device : str
        Name of the Linux device that gives a block of it; empty where XRT allocates.
    controller : str
        Memory controller of the block design; empty where there is no choice.
    """

    channel: str
    tag: str
    windows: tuple[Window, ...]
    device: str = ""
    controller: str = ""

    @property
    def largest(self) -> int:
        """Bytes of the largest block that fits."""
        return max(window.bytes for window in self.windows)


@dataclass(frozen=True)
class PortPins:
    """The slave port of the processing system that an interface is connected to."""

    interface: str
    pin: str
    clock: str
    gp: int
    segment: str


@dataclass(frozen=True)
class Controller:
    """A memory controller of a Versal device, as an instance of ``axi_noc``.

    Parameters
    ----------
    pins : {pin of the instance: interface of the board}
    properties : {name: value}
        In addition to those that are the same for all.
    also : tuple of (region, base, bytes)
        Regions that only the processors use.
    """

    name: str
    clock: str
    clock_hz: int
    kind: str
    pins: Mapping[str, str]
    properties: Mapping[str, str]
    also: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class Board:
    """Inputs of a package for a board.

    Parameters
    ----------
    flow : str
        One of :data:`FLOWS`.
    templates : str
        Folder of its templates.
    part, board_part, platform : str
        The device, the board file (a pattern), the platform of Vitis; empty where not used.
    address_bits : int
        Width of the address of every memory interface of the wrapper; 0 where there is none.
    burst_beats : int
        Longest burst that its ports take.
    interrupt : bool
        Whether the interrupt is connected; a host without one polls ``status``.
    register_base : int or None
        Address of the registers; None where the vendor's tool chooses it.
    interfaces_per_memory : int
        Most interfaces on one memory.
    tools : {name: versions}
        Versions that the package asks for.
    memory_mhz : float
        Clock of the memory, where the package makes it.
    """

    name: str
    about: str
    flow: str
    templates: str
    part: str
    tools: Mapping[str, tuple[str, ...]]
    memories: tuple[Memory, ...]
    address_bits: int = 0
    board_part: str = ""
    platform: str = ""
    burst_beats: int = 256
    interrupt: bool = False
    register_base: int | None = None
    interfaces_per_memory: int = 64
    ports: tuple[PortPins, ...] = ()
    controllers: tuple[Controller, ...] = field(default=())
    memory_mhz: float = 0.0

    def __post_init__(self) -> None:
        if self.flow not in FLOWS:
            raise ValueError(f"flow must be one of {', '.join(FLOWS)}, not {self.flow}")

    def memory(self, channel: str) -> Memory | None:
        """The memory that a channel of a target describes."""
        return next((memory for memory in self.memories if memory.channel == channel), None)

    def port(self, interface: str) -> PortPins | None:
        """The slave port of the processing system for an interface."""
        return next((port for port in self.ports if port.interface == interface), None)

    @staticmethod
    def load(name: str) -> "Board":
        """Read a shipped board.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        if name not in board_names():
            raise InputError(f"--board must be one of {', '.join(board_names())}, not {name}")
        values = tomllib.loads((_folder() / f"{name}.toml").read_text(encoding="utf-8"))
        memories, ports, controllers = (values.pop(n, ()) for n in ("memory", "port", "controller"))
        return build(
            Board, values, name,
            memories=tuple(one for entry in memories for one in _memories(entry)),
            ports=tuple(build(PortPins, entry, f"{name}.port") for entry in ports),
            controllers=tuple(build(Controller, entry, f"{name}.controller")
                              for entry in controllers),
        )  # fmt: skip


def board_names() -> list[str]:
    """Names of the boards that packages can be made for."""
    names = [entry.name for entry in _folder().iterdir()]
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def _folder() -> Any:
    return resources.files("lightmamba.device.package") / "boards"


def _memories(entry: Mapping[str, Any]) -> list[Memory]:
    """The memories that one [[memory]] describes; * is a number, in ``tag`` from ``first`` on."""
    values = dict(entry)
    count, first, step = (values.pop(key, other) for key, other in
                          (("count", 1), ("first", 0), ("step", 0)))  # fmt: skip
    windows = [Window(*window) for window in values.pop("windows")]
    one = build(Memory, values, "memory", windows=())
    return [
        replace(
            one,
            channel=one.channel.replace("*", str(n)),
            tag=one.tag.replace("*", str(first + n)),
            windows=tuple(Window(w.base + n * step, w.bytes) for w in windows),
        )
        for n in range(count)
    ]
