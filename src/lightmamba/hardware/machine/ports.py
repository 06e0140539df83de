"""The ports of a machine: which client of memory uses which AXI4 master."""

from collections.abc import Iterator
from dataclasses import dataclass

from lightmamba.arch.clients import (
    HEAD,
    LAYER,
    LOGITS,
    MEMORY,
    RECORD,
    SPREAD,
    STATIC,
    TABLE,
    WEIGHTS,
    Bus,
    Client,
    Owner,
    Shape,
)
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.hardware import Stream
from lightmamba.arch.ports import ID_BITS, of_token, widths
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.kinds import machine

__all__ = [
    "Port", "aux_readers", "aux_writers", "chosen", "clients", "count", "instance", "of_lanes",
    "ports", "state_clients",
]  # fmt: skip


@dataclass(frozen=True)
class Port:
    """One AXI4 master of the top level; its signals are ``{name}__araddr`` and so on."""

    name: str
    bits: int
    readers: tuple[str, ...]  # clients by read id
    writers: tuple[str, ...]  # clients by write id


def clients(config: ArchConfig, *shapes: Shape) -> tuple[Client, ...]:
    """Clients of a machine, or those of some shapes."""
    return tuple(
        client
        for client in machine(config.kinds).clients
        if (not shapes or client.shape in shapes) and (client.there is None or client.there(config))
    )


def instance(client: Client, n: int) -> str:
    """Name of the n-th reader or writer of a client, and of its region: lanes are all numbered."""
    return f"{client.name}{n}" if client.shape == WEIGHTS else of_token(client.name, n)


def count(config: ArchConfig, client: Client) -> int:
    """Readers or writers of a client: of each lane, port, slot or vector, or one for all."""
    shape = client.shape
    if shape.bus == Bus.LANE:
        return config.row_lanes if shape.grows else config.lanes
    if shape.bus == Bus.STATE:
        return config.state_ports
    shared = any(s.shared for s in _streams(config, client.name))
    alone = shape.ahead or shape.owner == Owner.PASS or (shape.owner == Owner.MODEL and shared)
    return 1 if alone else config.tokens


def _streams(config: ArchConfig, client: str) -> list[Stream]:
    """Streams from and to a client."""
    end = f"{MEMORY}.{client}"
    return [s for s in machine(config.kinds).streams if end in (s.source, s.target)]


def chosen(config: ArchConfig, client: Client) -> str:
    """Output of a unit, ``unit.port``, that chooses what comes of a table, or of weights.

    Empty: tokens do, or all of it comes in order.
    """
    chooses = client.shape in (TABLE, WEIGHTS)
    streams = _streams(config, client.name) if chooses else []
    return next((s.source for s in streams if s.taker == MEMORY), "")


def aux_readers(config: ArchConfig) -> tuple[str, ...]:
    """Clients that read through the port for everything small."""
    return tuple(_aux(config, (TABLE, STATIC, LAYER), "source"))


def aux_writers(config: ArchConfig) -> tuple[str, ...]:
    """Clients that write through it."""
    return tuple(_aux(config, (LAYER, LOGITS), "target"))


def of_lanes(config: ArchConfig, lane: int | None = None) -> tuple[str, ...]:
    """Clients of the lanes' ports, or of one, for what is spread over them."""
    lanes = range(config.row_lanes) if lane is None else range(lane, lane + 1)
    return tuple(
        of_token(client.name, n)
        for client in clients(config, SPREAD) for n in lanes if n < config.row_lanes
    )  # fmt: skip


def state_clients(config: ArchConfig) -> tuple[str, ...]:
    """Clients of the ports of states that lie head by head, one for each pair of ports."""
    return tuple(
        of_token(client.name, n)
        for client in clients(config, HEAD)
        for n in range(config.state_ports)
    )


def _aux(config: ArchConfig, shapes: tuple[Shape, ...], end: str) -> Iterator[str]:
    """Clients of the first token or slot, then those of the others, then records."""
    streams = machine(config.kinds).streams
    used = {getattr(s, end).split(".")[1] for s in streams if getattr(s, end).startswith(MEMORY)}
    found = [c for shape in shapes for c in clients(config, shape) if c.name in used]
    yield from (client.name for client in found)
    for client in found:
        yield from (of_token(client.name, n) for n in range(1, count(config, client)))
    yield from (client.name for client in clients(config, RECORD))


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
        if (needed := max(len(port.readers), len(port.writers))) > most:
            raise InputError(
                f"{needed} clients are on port {port.name}, which has ids for {most}; take fewer "
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
