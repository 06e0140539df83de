"""The ports of an accelerator: which client uses which AXI4 master."""

from dataclasses import dataclass

from lightmamba.arch.config import ArchConfig

__all__ = [
    "ADDRESS_BITS", "ID_BITS", "RECORD", "STATIC", "Port", "aux_readers", "aux_writers", "of_token",
    "ports",
]  # fmt: skip

ADDRESS_BITS = 44  # the LPDDR4 of a Versal device begins at 0x500_0000_0000
ID_BITS = 6  # one id per client of a port; data of one id come in order


@dataclass(frozen=True)
class Port:
    """One AXI4 master of the top level; its signals are ``{name}__araddr`` and so on."""

    name: str
    bits: int
    readers: tuple[str, ...]  # clients by read id
    writers: tuple[str, ...]  # clients by write id


STATIC = ("conv_params", "head_params", "gate_params")  # the same words for every token
RECORD = "record"  # client and region: tokens of a pass that are undecided


def of_token(client: str, n: int) -> str:
    """Client that serves the n-th token, slot or port as ``client`` serves the first."""
    return f"{client}{n}" if n else client


def aux_readers(config: ArchConfig) -> tuple[str, ...]:
    """Clients that read through the port for everything small."""
    return ("embedding", *STATIC, "conv_state", *_later(config, "embedding", "conv_state"))


def aux_writers(config: ArchConfig) -> tuple[str, ...]:
    """Clients that write through it."""
    return ("conv_state", "logits", *_later(config, "conv_state", "logits"))


def _state(config: ArchConfig, n: int) -> tuple[Port, Port]:
    """The n-th pair of ports of the state."""
    client = of_token("state", n)
    return (
        Port(of_token("state_read", n), config.state_port_bits, (client,), ()),
        Port(of_token("state_write", n), config.state_port_bits, (), (client,)),
    )


def _later(config: ArchConfig, *clients: str) -> tuple[str, ...]:
    """Those of the tokens behind the first, and that of the record where there is one."""
    more = (of_token(client, n) for client in clients for n in range(1, config.tokens))
    return (*more, RECORD) if config.undecided else tuple(more)


def ports(config: ArchConfig) -> tuple[Port, ...]:
    """Masters of a machine, in the order of its top level."""
    lanes = tuple(f"lane{n}" for n in range(config.lanes))
    if config.shared_port:
        everything = (*lanes, "state", *aux_readers(config))
        return (Port("memory", config.port_bits, everything, ("state", *aux_writers(config))),)
    return (
        *(Port(name, config.port_bits, (name,), ()) for name in lanes),
        *(port for n in range(config.state_ports) for port in _state(config, n)),
        Port("aux", config.aux_port_bits, aux_readers(config), aux_writers(config)),
    )
