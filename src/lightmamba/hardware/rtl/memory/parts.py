"""Readers, writers and what they serve: the parts that the sides of the memory wire up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Signal, Value

from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.rtl.streams import Fork, join

__all__ = ["Parts", "hand_on", "offer", "positions_of"]


@dataclass(frozen=True)
class Parts:
    """The parts between the units and the ports.

    Parameters
    ----------
    config : ArchConfig
    host, sequencer, units
        Registers, pulses of each pass, and the takers and givers of the data.
    readers, writers : {client: Reader or Writer}
    row_readers, row_writers : {client: RowReader or RowWriter}
        Of those that are spread over the lanes.
    """

    config: ArchConfig
    host: Any
    sequencer: Any
    units: Any
    readers: Mapping[str, Any]
    writers: Mapping[str, Any]
    row_readers: Mapping[str, Any]
    row_writers: Mapping[str, Any]

    @property
    def run(self) -> Value:
        """Prefetch is allowed."""
        bit: Value = self.host.control[0]
        return bit


def hand_on(m: Module, name: str, source: Any, target: Any, also: Any, words: Value) -> None:
    """Hand a command on; ``also`` gets one for ``words`` words of state."""
    m.submodules[f"fork_{name}"] = fork = Fork(source.payload.shape(), 2)
    join(m, source, fork.i)
    join(m, fork.o0, target)
    m.d.comb += [
        also.valid.eq(fork.o1.valid),
        also.payload.words.eq(words),
        fork.o1.ready.eq(also.ready),
    ]


def offer(m: Module, command: Any, when: Value) -> None:
    """Offer a command that stays as it is, from ``when`` until it is taken."""
    with m.If(when):
        m.d.sync += command.valid.eq(1)
    with m.Elif(command.ready):
        m.d.sync += command.valid.eq(0)


def positions_of(m: Module, parts: Parts, client: str, bits: int) -> list[Value]:
    """Positions of each slot; in a chain the first one's sequence has one more each time."""
    passed, sequencer = Signal(bits), parts.sequencer
    given = getattr(parts.host, f"slot_{client}_positions")
    with m.If(sequencer.start & ~sequencer.busy):
        m.d.sync += passed.eq(0)
    with m.Elif(sequencer.state):
        m.d.sync += passed.eq(passed + 1)
    return [(given[n] + (0 if n else passed))[:bits] for n in range(parts.config.tokens)]
