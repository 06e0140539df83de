"""Probes of a simulated accelerator: the layout of each one in memory."""

from dataclasses import dataclass

import numpy as np

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.hardware import Element
from lightmamba.hardware.machine.kinds import machine

__all__ = ["Element", "Probe", "probes"]


@dataclass(frozen=True)
class Probe:
    """A named record, written whenever its ``valid`` is 1.

    It shows ``tokens`` of a pass, their records next to each other, or one that they share (0).
    """

    name: str
    elements: tuple[Element, ...]
    tokens: int

    @property
    def dtype(self) -> np.dtype[np.void]:
        """Packed numpy type of a record; an axis of tokens comes first, unless they share it."""
        first = (self.tokens,) if self.tokens else ()
        shapes = [(*first, e.count) if e.count > 1 else first for e in self.elements]
        return np.dtype(
            [
                (e.name, "<" + e.dtype, shape) if shape else (e.name, "<" + e.dtype)
                for e, shape in zip(self.elements, shapes, strict=True)
            ]
        )

    @property
    def bytes(self) -> int:
        """Size of a record."""
        return self.dtype.itemsize


def probes(config: ArchConfig) -> tuple[Probe, ...]:
    """Every probe of a machine."""
    return tuple(
        Probe(
            shown.name,
            tuple(element.of(config) for element in shown.elements),
            0 if shown.shared else config.tokens,
        )
        for shown in machine(config.kinds).shown
    )
