"""The ports of an accelerator: which client uses which AXI4 master."""

from dataclasses import dataclass

from lightmamba.arch.config import ArchConfig

__all__ = ["ADDRESS_BITS", "AUX_READERS", "AUX_WRITERS", "ID_BITS", "STATIC", "Port", "ports"]

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
AUX_READERS = ("embedding", *STATIC, "conv_state")
AUX_WRITERS = ("conv_state", "logits")


def ports(config: ArchConfig) -> tuple[Port, ...]:
    """Masters of a machine, in the order of its top level."""
    lanes = tuple(f"lane{n}" for n in range(config.lanes))
    if config.shared_port:
        everything = (*lanes, "state", *AUX_READERS)
        return (Port("memory", config.port_bits, everything, ("state", *AUX_WRITERS)),)
    return (
        *(Port(name, config.port_bits, (name,), ()) for name in lanes),
        Port("state_read", config.state_port_bits, ("state",), ()),
        Port("state_write", config.state_port_bits, (), ("state",)),
        Port("aux", config.aux_port_bits, AUX_READERS, AUX_WRITERS),
    )
