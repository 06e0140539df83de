"""A build on a board: interfaces, registers and memory, as every file of a package names them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightmamba.arch.place import Place, offset_in_channel
from lightmamba.arch.ports import ADDRESS_BITS
from lightmamba.common.errors import InputError
from lightmamba.device.package.board import Board, Memory, PortPins, Window
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.machine.ports import Port, ports
from lightmamba.hardware.machine.registers import offsets, registers

__all__ = [
    "CONTROL", "CONTROL_BYTES", "KERNEL", "Block", "Design", "Entry", "Interface", "design",
    "windows",
]  # fmt: skip

KERNEL = "lightmamba"  # top module of the wrapper, and name of the kernel
CONTROL = "s_axi_control"
CONTROL_BYTES = 4096  # of the register window: LITE_BITS of address
MERGED = {"state_read": "state", "state_write": "state"}  # one reads, one writes: one interface
AFI_WIDTHS = {128: 0, 64: 1, 32: 2}  # codes of config-afi
SPARE = 64 << 20  # bytes of contiguous memory that Linux takes for itself
SHARED_BITS = (32, 64)  # of the one port that hardware/soc/sdram.py takes


@dataclass(frozen=True)
class Interface:
    """One AXI4 master of the wrapper: the read side of a port, the write side of one, or both.

    Where there is no wrapper, ``prefix`` is empty: it is a port of the accelerator.
    """

    name: str
    bits: int
    read: Port | None
    write: Port | None
    channels: tuple[str, ...]
    prefix: str = "m_axi_"

    @property
    def bus(self) -> str:
        """Its name in the wrapper."""
        return f"{self.prefix}{self.name}"

    @property
    def mode(self) -> str:
        """The vendor's word for its directions."""
        if self.read and self.write:
            return "READ_WRITE"
        return "READ_ONLY" if self.read else "WRITE_ONLY"

    @property
    def ports(self) -> tuple[Port, ...]:
        """The ports of the accelerator behind it."""
        found = [port for port in (self.read, self.write) if port is not None]
        return tuple(dict.fromkeys(found))

    @property
    def clients(self) -> set[str]:
        """Clients that read or write through the interface."""
        return {name for port in self.ports for name in (*port.readers, *port.writers)}


@dataclass(frozen=True)
class Entry:
    """A register, or one of several side by side; ``bus`` is the interface that it points into."""

    name: str
    offset: int
    bits: int
    access: str
    doc: str
    bus: str = ""


@dataclass(frozen=True)
class Block:
    """A channel of the target: a block of a board's memory."""

    name: str
    bytes: int
    alignment: int
    memory: Memory
    interfaces: tuple[Interface, ...]


@dataclass(frozen=True)
class Design:
    """A build on a board."""

    board: Board
    artifact: Artifact

    @cached_property
    def interfaces(self) -> tuple[Interface, ...]:
        """Masters of the wrapper, in the order of the accelerator's ports."""
        sides: dict[str, list[Port]] = {}
        for port in ports(self.artifact.arch):
            sides.setdefault(MERGED.get(port.name, port.name), []).append(port)
        found, prefix = [], "" if self.board.flow == "ecp5" else Interface.prefix
        for name, both in sides.items():
            read = next((port for port in both if port.readers), None)
            write = next((port for port in both if port.writers), None)
            channels = self.artifact.target.channels_of(both[0].name)
            names = tuple(one.name for one in channels)
            found.append(Interface(name, both[0].bits, read, write, names, prefix))
        return tuple(found)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Channels, each with the memory that it becomes."""
        found = []
        for name, (size, alignment) in self.artifact.extents().items():
            memory = self.board.memory(name)
            if memory is None:
                raise _other_target(self.artifact, self.board)
            inside = tuple(one for one in self.interfaces if name in one.channels)
            found.append(Block(name, size, alignment, memory, inside))
        return tuple(found)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Registers that this accelerator has."""
        kinds = self.artifact.arch.kinds
        at, found = offsets(kinds), []
        for register in registers(kinds):
            size = 4 * (1 + register.wide)
            values = self.artifact.registers.get(register.name)
            listed = values if isinstance(values, list) else [values]
            for n in range(register.counted(self.artifact.arch)):
                value = listed[n] if n < len(listed) else None
                bus = self.bus_of(value) if isinstance(value, Place) else ""
                name = f"{register.name}_{n}" if register.count > 1 else register.name
                place = at[register.name] + n * size
                found.append(Entry(name, place, 8 * size, register.access, register.doc, bus))
        return tuple(found)

    def bus_of(self, place: Place) -> str:
        """The interface that reaches a region."""
        client = place.region.removesuffix("_other")
        return next(one.bus for one in self.interfaces if client in one.clients)

    def block(self, channel: str) -> Block:
        """The block of a channel."""
        return next(block for block in self.blocks if block.name == channel)

    def banks(self, interface: Interface) -> str:
        """Memories of an interface as the linker of Vitis names them: ``DDR[0]``, ``DDR[0:1]``.

        Raises
        ------
        ValueError
            If they are not numbered one after the other.
        """
        tags = [self.block(channel).memory.tag for channel in interface.channels]
        kinds = {tag.partition("[")[0] for tag in tags}
        numbers = sorted(int(tag.partition("[")[2].rstrip("]")) for tag in tags)
        first, last = numbers[0], numbers[-1]
        if len(kinds) != 1 or numbers != list(range(first, last + 1)):
            raise ValueError(f"{interface.bus} is on {', '.join(tags)}, which is no range of banks")
        return f"{kinds.pop()}[{first}]" if first == last else f"{kinds.pop()}[{first}:{last}]"

    def afi(self, gp: int) -> int:
        """Code of the width of slave port ``gp`` of the processing system."""
        widths = [one.bits for one in self.interfaces if self.pins(one).gp == gp]
        return AFI_WIDTHS[widths[0]] if widths else 0

    def range_of(self, block: Block) -> Window:
        """The window that a block is placed in: the first that is large enough."""
        return next(one for one in block.memory.windows if one.bytes >= block.bytes)

    def rounded(self, block: Block) -> int:
        """Bytes of a block in whole units of its alignment, as it is asked for."""
        return -(-block.bytes // block.alignment) * block.alignment

    def reserved(self, block: Block) -> int:
        """Bytes to set aside for a block: room for Linux's own buffers besides."""
        return -(-(block.bytes + SPARE) // SPARE) * SPARE

    def pins(self, interface: Interface) -> PortPins:
        """Where the processing system takes an interface."""
        found = self.board.port(interface.name)
        if found is None:
            raise _other_target(self.artifact, self.board)
        return found

    @property
    def control(self) -> str:
        """Name of the interface of the registers."""
        return "host" if self.board.flow == "ecp5" else CONTROL

    @property
    def buses(self) -> tuple[str, ...]:
        """All AXI interfaces of the wrapper: the registers, then memory."""
        return (self.control, *(one.bus for one in self.interfaces))

    @property
    def clock_hz(self) -> int:
        """Requested clock in hertz."""
        return round(self.artifact.target.clock_mhz * 1e6)

    @property
    def clock_mhz(self) -> int | float:
        """Requested clock in MHz, an integer where it is a whole number."""
        return self.clock_hz // 10**6 if self.clock_hz % 10**6 == 0 else self.clock_hz / 1e6

    def placed(self) -> dict[str, int]:
        """A base for each channel as the board could give it: the beginning of a window."""
        found, free = {}, dict[int, int]()
        for block in self.blocks:
            window = self.range_of(block).base
            at = -(-free.get(window, window) // block.alignment) * block.alignment
            found[block.name], free[window] = at, at + block.bytes
        return found

    def relocations(self) -> list[dict[str, Any]]:
        """Where each address register points: channel, region, bytes from the channel's base."""
        regions = {region.name: region for region in self.artifact.regions}
        at, found = offsets(self.artifact.arch.kinds), []
        for name, setting in self.artifact.registers.items():
            for n, value in enumerate(setting if isinstance(setting, list) else [setting]):
                if isinstance(value, Place):
                    found.append(
                        {
                            "register": name,
                            "index": n,
                            "register_offset": at[name] + 8 * n,
                            "channel": value.channel,
                            "region": value.region,
                            "offset": offset_in_channel(value, regions),
                        }
                    )
        return found


def design(artifact: Artifact, board: Board) -> Design:
    """A build on a board, if it was compiled for it.

    Raises
    ------
    InputError
        If the target is another, or a block does not fit: one sentence with what to compile.
    """
    target, arch = artifact.target, artifact.arch
    if target.board != board.name:
        raise _other_target(artifact, board)
    if board.flow == "ecp5":
        _check_port(artifact, board)
    elif arch.shared_port:
        raise _other_target(artifact, board)
    made = Design(board, artifact)
    for block in made.blocks:
        if block.bytes > block.memory.largest:
            raise InputError(
                f"channel {block.name} holds {block.bytes / 2**20:,.0f} MiB, but "
                f"{block.memory.tag} of {board.name} takes blocks of "
                f"{block.memory.largest >> 20} MiB at most; compile a smaller model, "
                f"of at most {block.memory.largest / block.bytes:.0%} of these bytes"
            )
    if board.flow == "zynqmp":
        for interface in made.interfaces:
            made.pins(interface)
    if arch.burst_beats > board.burst_beats:
        raise InputError(
            f"bursts of {arch.burst_beats} beats are too long for {board.name}; compile with "
            f"burst_beats = {board.burst_beats} in the target"
        )
    if board.flow != "ecp5" and board.address_bits <= ADDRESS_BITS:
        raise ValueError(f"{board.name} needs addresses of more than {ADDRESS_BITS} bits")
    return made


def _check_port(artifact: Artifact, board: Board) -> None:
    """Refuse an accelerator that the board's memory controller cannot serve."""
    arch = artifact.arch
    if arch.shared_port and arch.port_bits in SHARED_BITS:
        return
    has = f"one of {arch.port_bits} bits" if arch.shared_port else "several memory ports"
    raise InputError(
        f"{artifact.path} has {has}, but the memory controller for {board.name} takes one port of "
        f"{' or '.join(map(str, SHARED_BITS))} bits; compile with shared_port = true and "
        f"port_bits = {SHARED_BITS[-1]} in the target"
    )


def windows(made: Design, bases: Mapping[str, int]) -> bool:
    """Whether each block lies in a window of its memory, is aligned, and can be addressed."""
    return all(
        bases[block.name] % block.alignment == 0
        and bases[block.name] + block.bytes <= 1 << ADDRESS_BITS
        and any(one.holds(bases[block.name], block.bytes) for one in block.memory.windows)
        for block in made.blocks
    )


def _other_target(artifact: Artifact, board: Board) -> InputError:
    return InputError(
        f"{artifact.path} was compiled for target {artifact.target.name}, not for {board.name}; "
        f"make a build for this board with: "
        f"lightmamba compile MODEL --target {board.name} -o BUILD"
    )
