"""Records of the probes in one token, and how they become observables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.hardware import Element

__all__ = [
    "Found", "Record", "Taken", "Values", "blocked", "carried", "coded", "lead", "named", "padded",
    "shaped",
]  # fmt: skip

Values = NDArray[Any]
Found = Iterator[tuple[str, Values, Values]]  # names, values, and the cycle of each value


@dataclass(frozen=True)
class Record:
    """Records of one probe in order, the cycle of each, and what the probe shows."""

    records: Values  # structured
    cycles: NDArray[np.uint64]
    elements: tuple[Element, ...] = ()

    def __getitem__(self, field: str) -> Values:
        values: Values = self.records[field]
        return values

    def where(self, keep: NDArray[np.bool_]) -> "Record":
        """Only some of the records."""
        return replace(self, records=self.records[keep], cycles=self.cycles[keep])

    def reshape(self, *shape: int) -> "Record":
        """Arranged in axes."""
        return replace(self, records=self.records.reshape(shape), cycles=self.cycles.reshape(shape))

    def take(self, index: Any) -> "Record":
        """Indexed along its axes."""
        return replace(self, records=self.records[index], cycles=self.cycles[index])


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


class Taken:
    """Records of each probe, taken layer by layer.

    Parameters
    ----------
    probes : {name: Record}
        In the order in which they were seen.
    """

    def __init__(self, probes: Mapping[str, Record]) -> None:
        self._probes, self._at = probes, dict.fromkeys(probes, 0)

    def __call__(self, name: str, *shape: int) -> Record:
        """The next records of a probe, arranged in axes.

        Raises
        ------
        ValueError
            If it saw fewer, or there is no such probe.
        """
        if name not in self._probes:
            raise ValueError(f"no probe is named {name}; there are {', '.join(self._probes)}")
        first, whole = self._at[name], self._probes[name]
        self._at[name] += int(np.prod(shape))
        return shaped(name, whole.take(slice(first, self._at[name])), *shape)

    def items(self, name: str, count: int) -> Record:
        """The next items of a probe that may show several in a record, one by one.

        The last record may show fewer.

        Raises
        ------
        ValueError
            As when it is called.
        """
        kind = self._probes[name].records.dtype
        width = int(np.prod(kind[0].shape, dtype=np.int64))
        found = self(name, -(-count // width))
        items = np.empty(count, [(field, kind[field].base) for field in kind.names or ()])
        for field in items.dtype.names or ():
            items[field] = found[field].reshape(-1)[:count]
        return replace(found, records=items, cycles=found.cycles.repeat(width)[:count])

    def elements(self, name: str) -> int:
        """Numbers of the first field of each of a probe's records."""
        return int(self._probes[name].records.dtype[0].shape[0])

    def end(self) -> None:
        """Check that nothing is left.

        Raises
        ------
        ValueError
            If a probe saw more than was taken.
        """
        for name, taken in self._at.items():
            if len(self._probes[name].cycles) != taken:
                seen = len(self._probes[name].cycles)
                raise ValueError(f"probe {name} saw {seen} records, expected {taken}")


def lead(values: Values, axes: int) -> Values:
    """Put axes of one in front: batch, and seqlen where it has one."""
    return values.reshape((1,) * axes + values.shape)


def named(name: str, record: Record, field: str, axes: int) -> Found:
    """One field of the records, with leading axes of length one."""
    yield name, lead(record[field].astype(np.int64), axes), lead(record.cycles, axes)


def carried(within: str, record: Record) -> Found:
    """The observables that a probe carries."""
    for element in record.elements:
        if element.observable:
            yield from named(f"{within}.{element.observable}", record, element.name, 2)


def coded(within: str, record: Record, block: int) -> Found:
    """Activations, and the scale of each block."""
    for name, values, cycles in carried(within, record):
        step = block if name.endswith(".code") else 1
        yield name, values[..., ::step], cycles[..., ::step]


def padded(values: Values, width: int) -> Values:
    """Pad the last axis with zeros, up to a width."""
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])])


def blocked(name: str, record: Record, block: int) -> Found:
    """Values along the last axis, zero-padded to whole blocks, and an exponent for each block."""
    width = -(-record.records.shape[-1] // block) * block
    q, cycles = record["q"].astype(np.int64), record.cycles
    yield name, lead(padded(q, width), 2), lead(padded(cycles, width), 2)
    first = record.take(np.s_[..., ::block])
    yield from named(f"{name}_exp", first, "exp", 2)
