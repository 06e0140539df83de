"""Faults of the memory's answers: how registers name them, and a sentence about one."""

from enum import IntEnum

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import PAGE
from lightmamba.hardware.machine.ports import Port, ports

__all__ = ["MEANINGS", "Fault", "described", "sides"]


class Fault(IntEnum):
    """Kinds of wrong answers, bits 0 to 2 of the register ``fault``."""

    SLVERR = 1
    DECERR = 2
    EARLY_LAST = 3
    NO_LAST = 4


MEANINGS = {
    Fault.SLVERR: "memory answered with an error (SLVERR)",
    Fault.DECERR: "no memory answered at an address (DECERR)",
    Fault.EARLY_LAST: "a burst ended early (RLAST before its last beat)",
    Fault.NO_LAST: "a burst had no end (no RLAST at its last beat)",
}


def sides(config: ArchConfig) -> tuple[tuple[Port, str], ...]:
    """Ports and which side of them is watched, ``"read"`` or ``"write"``, by number."""
    found = ports(config)
    reading = [(port, "read") for port in found if port.readers]
    return (*reading, *((port, "write") for port in found if port.writers))


def described(config: ArchConfig, fault: int, page: int) -> str:
    """A sentence about what the registers ``fault`` and ``fault_page`` say."""
    kind, place, number = fault & 7, fault >> 8 & 0xFF, fault >> 16 & 0x3F
    known = sides(config)
    if kind not in MEANINGS or place >= len(known):
        return f"memory answered with an error that is not known (register fault: {fault:#x})"
    port, side = known[place]
    users = port.readers if side == "read" else port.writers
    user = users[number] if number < len(users) else f"id {number}"
    return (
        f"{MEANINGS[Fault(kind)]}: port {port.name}, {side} of {user}, at or before the page "
        f"{page * PAGE:#x}"
    )
