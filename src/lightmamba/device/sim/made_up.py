"""Targets without a board, for tests and benchmarks: any build parameters, any rate of memory."""

from dataclasses import replace
from typing import Any

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Channel, Target
from lightmamba.hardware.machine.ports import ports

__all__ = ["made_up", "two_ports"]


def made_up(
    *, beats: float = 0.9, latency: int = 12, copies: int = 1, turn: float = 0, **machine: Any
) -> Target:
    """Target with these build parameters.

    ``beats`` per cycle come from every memory; the state has one or two ``copies``, and a change of
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


def two_ports(target: Target) -> Target:
    """The state of a target over two ports each way, the second on a channel like the first's."""
    (state,) = (c for c in target.channels if "state_read" in c.ports)
    second = replace(state, name="state1", ports=("state_read1", "state_write1"))
    machine = replace(target.machine, state_ports=2)
    return replace(target, machine=machine, channels=(*target.channels, second))
