"""Hardware counters: every cycle of a token by what the lanes did, losses, traffic."""

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.ports import ports

__all__ = ["COUNTER_BITS", "CYCLES", "LOSSES", "counters"]

COUNTER_BITS = 48

# Each cycle of a token is exactly one of these, in this priority.
CYCLES = (
    "multiplying", "scale", "wait_activation", "wait_memory", "wait_epilogue", "idle",
)  # fmt: skip
SSM = ("ssm_busy", "ssm_waiting")
# The engine's names (docs/reference/observables.md); `clipped` is intended, the others are not.
LOSSES = (
    "embedding", "in_proj", "conv.input", "conv", "dt", "ssm.h", "ssm.y", "gate", "hadamard",
    "out_proj", "residual", "head", "in_proj.scale", "out_proj.scale", "head.scale", "clipped",
)  # fmt: skip


def counters(config: ArchConfig) -> tuple[str, ...]:
    """Names of a machine's counters, by index.

    ``NAME.beats_read`` and ``NAME.beats_written`` count transfers of a port, ``NAME.wait`` cycles
    in which it owed data and had none. Counters run while a token runs and never fall.
    """
    traffic = [
        f"{port.name}.{what}"
        for port in ports(config)
        for what in ("beats_read", "beats_written", "wait")
    ]
    return (*CYCLES, *SSM, *LOSSES, *traffic)
