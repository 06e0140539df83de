"""The AXI4 masters that an accelerator may have, and their widths."""

from lightmamba.arch.config import ArchConfig

__all__ = ["ADDRESS_BITS", "ID_BITS", "gear", "of_token", "widths"]

ADDRESS_BITS = 44  # the LPDDR4 of a Versal device begins at 0x500_0000_0000
ID_BITS = 6  # one id per client of a port; data of one id come in order


def of_token(client: str, n: int) -> str:
    """Client that serves the n-th token, slot or port as ``client`` serves the first."""
    return f"{client}{n}" if n else client


def gear(word: int, port: int) -> tuple[int, int]:
    """Beats per word and words per beat, for a word and a port in bits; one of the two is 1."""
    return max(1, word // port), max(1, port // word)


def widths(config: ArchConfig) -> dict[str, int]:
    """Bits of each master, in the order of the top level.

    One reads for each lane; a pair reads and writes states that lie head by head; ``aux`` is for
    everything small. Where there is a shared port, it is for all of it.
    """
    if config.shared_port:
        return {"memory": config.port_bits}
    states = [
        of_token(name, n)
        for n in range(config.state_ports)
        for name in ("state_read", "state_write")
    ]
    return {
        **{f"lane{n}": config.port_bits for n in range(config.lanes)},
        **dict.fromkeys(states, config.state_port_bits),
        "aux": config.aux_port_bits,
    }
