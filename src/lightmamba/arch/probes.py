"""Probes of a simulated accelerator: the layout of each one in memory."""

from dataclasses import dataclass

import numpy as np

from lightmamba.arch.config import ArchConfig

__all__ = ["Element", "Probe", "probes"]


@dataclass(frozen=True)
class Element:
    """One field of a probe: ``count`` numbers of a numpy type."""

    name: str
    dtype: str  # i1, u1, i2, u2, i4, u4 or i8, little-endian
    count: int = 1


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
    value = Element("value", "i4")
    kind, q = Element("kind", "u1"), Element("q", "i1")
    row = Element("value", "i8")  # two may be finished in one cycle, in order
    rms = Element("mantissa", "u2"), Element("j", "i1")
    coded = q, Element("code", "u1")
    s = config.state_elements
    return (
        Probe("residual", (value,)),
        Probe("rms_in", rms),
        Probe("quant_in", coded),
        Probe("rows_first", (kind, row)),
        Probe("rows_second", (kind, row)),
        Probe("heads", (Element("dt", "u2"), Element("shift", "u1"), Element("decay", "u4"))),
        Probe("conv", (kind, Element("value", "i2"))),
        Probe("conv_state", (Element("taps", "i1", 8),)),
        Probe("x", (q, Element("exp", "u1"))),
        Probe("bc", (kind, q, Element("exp", "u1"))),
        Probe("state", (Element("q", "i1", s), Element("exp", "u1", s // 32))),
        Probe("y", (value,)),
        Probe("gate", (Element("g", "i4"), Element("weighted", "i4"))),
        Probe("rms_out", rms),
        Probe("hadamard", (value,)),
        Probe("quant_out", coded),
    )
