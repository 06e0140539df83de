"""Records of the probes in one token, and how they become observables."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.machine import MACHINE

__all__ = [
    "Found", "Record", "Values", "blocked", "carried", "coded", "lead", "named", "padded", "shaped",
]  # fmt: skip

Values = NDArray[Any]
Found = Iterator[tuple[str, Values, Values]]  # names, values, and the cycle of each value


@dataclass(frozen=True)
class Record:
    """Records of one probe in order, and the cycle of each."""

    records: Values  # structured
    cycles: NDArray[np.uint64]

    def __getitem__(self, field: str) -> Values:
        values: Values = self.records[field]
        return values

    def where(self, keep: NDArray[np.bool_]) -> "Record":
        """Only some of the records."""
        return Record(self.records[keep], self.cycles[keep])

    def reshape(self, *shape: int) -> "Record":
        """Arranged in axes."""
        return Record(self.records.reshape(shape), self.cycles.reshape(shape))

    def take(self, index: Any) -> "Record":
        """Indexed along its axes."""
        return Record(self.records[index], self.cycles[index])


def shaped(name: str, record: Record, *shape: int) -> Record:
    """The records of a probe arranged in axes.

    Raises
    ------
    ValueError
        If it saw fewer or more than the token has.
    """
    expected = int(np.prod(shape))
    if len(record.cycles) != expected:
        raise ValueError(f"probe {name} saw {len(record.cycles)} records, expected {expected}")
    return record.reshape(*shape)


def lead(values: Values, axes: int) -> Values:
    """Put axes of one in front: batch, and seqlen where it has one."""
    return values.reshape((1,) * axes + values.shape)


def named(name: str, record: Record, field: str, axes: int) -> Found:
    """One field of the records, with leading axes of length one."""
    yield name, lead(record[field].astype(np.int64), axes), lead(record.cycles, axes)


def carried(within: str, probe: str, record: Record) -> Found:
    """The observables that the graph says a probe carries."""
    for element in next(s.elements for s in MACHINE.shown if s.name == probe):
        if element.observable:
            yield from named(f"{within}.{element.observable}", record, element.name, 2)


def coded(within: str, probe: str, record: Record, block: int) -> Found:
    """Activations, and the scale of each block."""
    for name, values, cycles in carried(within, probe, record):
        step = block if name.endswith(".code") else 1
        yield name, values[..., ::step], cycles[..., ::step]


def padded(values: Values, width: int) -> Values:
    """Zeros behind the last axis, up to a width."""
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])])


def blocked(name: str, record: Record, block: int) -> Found:
    """Values along the last axis, zero-padded to whole blocks, and an exponent for each block."""
    width = -(-record.records.shape[-1] // block) * block
    q, cycles = record["q"].astype(np.int64), record.cycles
    yield name, lead(padded(q, width), 2), lead(padded(cycles, width), 2)
    first = record.take(np.s_[..., ::block])
    yield from named(f"{name}_exp", first, "exp", 2)
