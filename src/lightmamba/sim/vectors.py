"""Records of the probes of a pass, taken apart into those of each token."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.records import Record, shaped
from lightmamba.machine.probes import probes

__all__ = ["INPUTS", "Inputs", "history", "inputs_of", "same", "updates_of", "vector_of"]

INPUTS = 3  # of a channel, that the convolution keeps
Inputs = NDArray[np.int8]  # (layers, channels), in the order of the rows


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
        found[probe.name] = Record(mine, record.cycles)
    return found


def updates_of(record: Record, shape: tuple[int, int, int, int], rows: int) -> list[Record]:
    """Updated states of each step of a pass, a record for each row or part of one.

    Parameters
    ----------
    record
        Of the probe of updates.
    shape : layers, heads, steps, words
        Heads of a layer, words of S elements of a head.
    rows : int
        Rows of the state in a word.
    """
    whole = shaped("updates", record, *shape)
    return [_rows(whole.take((slice(None), slice(None), n)), rows) for n in range(shape[2])]


def _rows(record: Record, rows: int) -> Record:
    """Records of a row at most: words that hold several are cut."""
    flat = record.reshape(-1)
    if rows == 1:
        return flat
    dtype = np.dtype(
        [(name, kind.base, (kind.shape[0] // rows,)) for name, (kind, *_) in
         (flat.records.dtype.fields or {}).items()]
    )  # fmt: skip
    cut = np.empty(rows * len(flat.cycles), dtype)
    for name in dtype.names or ():
        cut[name] = flat.records[name].reshape(len(cut), -1)
    return Record(cut, np.repeat(flat.cycles, rows))


def inputs_of(seen: Mapping[str, Record], layers: int, channels: int) -> list[Inputs]:
    """Inputs of the convolution by vector."""
    record = shaped("conv_in", seen["conv_in"], layers, channels)
    values = record["value"]
    return [np.ascontiguousarray(values[..., vector]) for vector in range(values.shape[-1])]


def history(inputs: Sequence[Inputs], last: Record) -> Record:
    """State of the convolution after a token: its last three inputs, oldest first, by channel.

    ``last`` are the records of its own inputs, whose cycles count.
    """
    records = np.zeros(len(last.cycles), np.dtype([("value", "<i1", (INPUTS,))]))
    records["value"] = np.stack([each.ravel() for each in inputs], axis=-1)
    return Record(records, last.cycles)


def same(a: Record, b: Record) -> bool:
    """Whether two records hold the same numbers."""
    names: Any = a.records.dtype.names
    return all(np.array_equal(a.records[name], b.records[name]) for name in names)
