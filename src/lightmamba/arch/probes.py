"""Probes of a simulated accelerator: the layout of each one in memory."""

from dataclasses import dataclass

import numpy as np

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.graph import Element
from lightmamba.arch.machine import MACHINE

__all__ = ["Element", "Probe", "probes"]


@dataclass(frozen=True)
class Probe:
    """A named record, written whenever its ``valid`` is 1."""

    name: str
    elements: tuple[Element, ...]

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Packed numpy type of a record."""
        return np.dtype(
            [
                (e.name, "<" + e.dtype) if e.count == 1 else (e.name, "<" + e.dtype, (e.count,))
                for e in self.elements
            ]
        )

    @property
    def bytes(self) -> int:
        """Size of a record."""
        return self.dtype.itemsize


def probes(config: ArchConfig) -> tuple[Probe, ...]:
    """Every probe of a machine."""
    return tuple(
        Probe(shown.name, tuple(element.of(config) for element in shown.elements))
        for shown in MACHINE.shown
    )
