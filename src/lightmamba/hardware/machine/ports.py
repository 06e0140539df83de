"""The ports of a machine: which client of memory uses which AXI4 master."""

from collections.abc import Iterator
from dataclasses import dataclass

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.hardware import MEMORY, Client
from lightmamba.arch.ports import ID_BITS, of_token, widths
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.kinds import machine

__all__ = [
    "Port", "aux_readers", "aux_writers", "clients", "of_lanes", "ports", "state_clients",
]  # fmt: skip


@dataclass(frozen=True)
class Port:
    """One AXI4 master of the top level; its signals are ``{name}__araddr`` and so on."""

    name: str
    bits: int
    readers: tuple[str, ...]  # clients by read id
    writers: tuple[str, ...]  # clients by write id


def clients(config: ArchConfig, *shapes: str) -> tuple[Client, ...]:
    """Clients of a machine, or those of some shapes."""
    return tuple(
        client
        for client in machine(config.kinds).clients
        if (not shapes or client.shape in shapes) and (client.there is None or client.there(config))
    )


def aux_readers(config: ArchConfig) -> tuple[str, ...]:
    """Clients that read through the port for everything small."""
    return tuple(_aux(config, ("row", "static", "layer", "growing"), "source"))


def aux_writers(config: ArchConfig) -> tuple[str, ...]:
    """Clients that write through it."""
    return tuple(_aux(config, ("layer", "growing", "row"), "target"))


def of_lanes(config: ArchConfig, lane: int | None = None) -> tuple[str, ...]:
    """Clients of the lanes' ports, or of one, for what is spread over them."""
    lanes = range(config.row_lanes) if lane is None else range(lane, lane + 1)
    return tuple(
        of_token(client.name, n)
        for client in clients(config, "spread") for n in lanes if n < config.row_lanes
    )  # fmt: skip


def state_clients(config: ArchConfig) -> tuple[str, ...]:
    """Clients of the ports of states that lie head by head, one for each pair of ports."""
    return tuple(
        of_token(client.name, n)
        for client in clients(config, "head")
        for n in range(config.state_ports)
    )


def _aux(config: ArchConfig, shapes: tuple[str, ...], end: str) -> Iterator[str]:
    """Clients of the first token or slot, then those of the others, then records."""
    streams = machine(config.kinds).streams
    used = {getattr(s, end).split(".")[1] for s in streams if getattr(s, end).startswith(MEMORY)}
    found = [c for shape in shapes for c in clients(config, shape) if c.name in used]
    yield from (client.name for client in found)
    for client in found:
        if client.shape != "static":
            yield from (of_token(client.name, n) for n in range(1, config.tokens))
    yield from (client.name for client in clients(config, "record"))


def ports(config: ArchConfig) -> tuple[Port, ...]:
    """Masters of a machine, in the order of its top level.

    Raises
    ------
    InputError
        If a port has more clients than there are ids. Of a shared port's ids, half are for the
        bridge to a host, which shares the memory.
    """
    found, most = _ports(config), 1 << (ID_BITS - config.shared_port)
    for port in found:
        if (count := max(len(port.readers), len(port.writers))) > most:
            raise InputError(
                f"{count} clients are on port {port.name}, which has ids for {most}; take fewer "
                f"lanes or tokens{', or shared_port = false' if config.shared_port else ''}"
            )
    return found


def _ports(config: ArchConfig) -> tuple[Port, ...]:
    lanes, states = tuple(f"lane{n}" for n in range(config.lanes)), state_clients(config)
    readers, writers = aux_readers(config), aux_writers(config)
    if config.shared_port:
        spread = of_lanes(config)
        everything = (*lanes, *states, *readers, *spread)
        return (Port("memory", config.port_bits, everything, (*states, *writers, *spread)),)
    uses: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        **{
            lane: ((lane, *of_lanes(config, n)), of_lanes(config, n))
            for n, lane in enumerate(lanes)
        },
        **{of_token("state_read", n): ((name,), ()) for n, name in enumerate(states)},
        **{of_token("state_write", n): ((), (name,)) for n, name in enumerate(states)},
        "aux": (readers, writers),
    }
    return tuple(
        Port(name, bits, *uses[name]) for name, bits in widths(config).items() if name in uses
    )
