"""Hardware counters: every cycle of a token by what the lanes did, losses, traffic."""

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.ports import ports
from lightmamba.hardware.machine.spine import FRONT

__all__ = ["COUNTER_BITS", "CYCLES", "counters", "losses", "of_vector"]

COUNTER_BITS = 48

# Each cycle of a token is exactly one of these, in this priority.
CYCLES = tuple(c.name for c in FRONT.counters if c.kind == "cycle")


def losses(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Counters of losses, by the engine's names (docs/reference/observables.md)."""
    return tuple(c.name for c in machine(kinds).counters if c.kind == "loss")


def counters(config: ArchConfig) -> tuple[str, ...]:
    """Names of a machine's counters, by index; none where they are left out.

    ``NAME.beats_read`` and ``NAME.beats_written`` count transfers of a port, ``NAME.wait`` cycles
    in which it owed data and had none. Counters run while a pass runs and never fall. Losses are
    counted by vector, see :func:`of_vector`.
    """
    if not config.counters:
        return ()
    traffic = [
        f"{port.name}.{what}"
        for port in ports(config)
        for what in ("beats_read", "beats_written", "wait")
    ]
    own = [
        name
        for counter in machine(config.kinds).counters
        for name in (
            [of_vector(counter.name, n) for n in range(config.tokens)]
            if counter.kind == "loss"
            else [counter.name]
        )
    ]
    return (*own, *traffic)


def of_vector(loss: str, vector: int) -> str:
    """Counter of a loss in one vector of a pass: ``conv@2``."""
    return f"{loss}@{vector}"
