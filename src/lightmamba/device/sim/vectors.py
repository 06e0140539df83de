"""Records of the probes of a pass, taken apart into those of each token."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.records import Record
from lightmamba.hardware.machine.probes import probes

__all__ = ["same", "vector_of"]


def vector_of(arch: ArchConfig, seen: Mapping[str, Record], vector: int) -> dict[str, Record]:
    """Records of one vector; those that all vectors share are not among them."""
    found = {}
    for probe in probes(arch):
        if not probe.tokens:
            continue
        record = seen[probe.name]
        mine = np.empty(len(record.cycles), replace(probe, tokens=0).dtype)
        for field in mine.dtype.names or ():
            mine[field] = record.records[field][:, vector]
        found[probe.name] = replace(record, records=mine)
    return found


def same(a: Record, b: Record) -> bool:
    """Whether two records hold the same numbers."""
    names: Any = a.records.dtype.names
    return all(np.array_equal(a.records[name], b.records[name]) for name in names)
