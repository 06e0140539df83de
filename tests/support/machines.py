"""Targets made up for tests: any machine, each port with a memory of its own, or one for all."""

from dataclasses import replace
from typing import Any

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.ports import ports
from lightmamba.arch.target import Channel, Target

__all__ = ["made_up"]


def made_up(
    *, beats: float = 0.9, latency: int = 12, copies: int = 1, turn: float = 0, **machine: Any
) -> Target:
    """Target with these build parameters.

    ``beats`` per cycle come from every memory; the state has so many ``copies``, and a change of
    direction takes ``turn`` cycles, half of them each way.
    """
    config = replace(ArchConfig(), **machine)
    state = ("state_read", "state_write")
    shares: list[tuple[str, ...]] = [
        (port.name,) for port in ports(config) if port.name not in state
    ]
    if not config.shared_port:
        shares += copies * [state]
    bits = {port.name: port.bits for port in ports(config)}
    channels = tuple(
        Channel(
            name=names[0] + ("" if n < len(shares) - copies + 1 else "_other"),
            ports=names,
            gb_per_s=len(names) * bits[names[0]] / 80,
            attainable_gb_per_s=beats * len(names) * bits[names[0]] / 80,
            latency_ns=10.0 * latency,
            turn_ns=10.0 * turn,
            source="made up",
        )
        for n, names in enumerate(shares)
    )
    tiny = Target.load("tiny")
    return replace(tiny, name="made up", about="", machine=config, channels=channels)
