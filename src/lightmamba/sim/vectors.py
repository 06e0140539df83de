"""What the probes of a pass of several tokens saw, taken apart: the records of each token.

Each becomes what a machine of one token would have recorded, so that
:func:`lightmamba.sim.observe.observables` takes either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.probes import probes
from lightmamba.arch.records import Record, shaped

__all__ = ["conv_states", "inputs_of", "updates_of", "vector_of"]

SHARED = ("updates", "conv_in")  # what is not a token's own, or not as a single one shows it
HALVES = 2  # channels in a word of the convolution's state
Inputs = NDArray[np.int8]  # (layers, channels), in the order of the rows


def vector_of(arch: ArchConfig, seen: Mapping[str, Record], vector: int) -> dict[str, Record]:
    """Records of one vector, but for its states."""
    elements = min(arch.state_elements, 128, arch.padded_state)  # what one of one token may have
    one = replace(arch, tokens=1, state_ports=1, packed=False, state_elements=elements)
    single = {probe.name: probe.dtype for probe in probes(one)}
    found = {}
    for name, record in seen.items():
        if name in SHARED:
            continue
        mine = np.empty(len(record.cycles), single[name])
        for field in mine.dtype.names or ():
            mine[field] = record.records[field][:, vector]
        found[name] = Record(mine, record.cycles)
    return found


def updates_of(
    arch: ArchConfig, record: Record, layers: int, heads: int, steps: int, words: int
) -> list[Record]:
    """Updated states, of each step of a pass, a record for each row or part of one.

    Parameters
    ----------
    arch, record
        The machine, and what its probe of updates saw.
    layers, heads, steps, words : int
        Heads are of a layer, words of S elements of a head.
    """
    whole = shaped("updates", record, layers, heads, steps, words)
    return [_rows(arch, whole.take((slice(None), slice(None), step))) for step in range(steps)]


def _rows(arch: ArchConfig, record: Record) -> Record:
    """Records of a row at most: words that hold several are cut."""
    per, flat = arch.word_rows, record.reshape(-1)
    if per == 1:
        return flat
    dtype = np.dtype(
        [(name, kind.base, (kind.shape[0] // per,)) for name, (kind, *_) in
         (flat.records.dtype.fields or {}).items()]
    )  # fmt: skip
    cut = np.empty(per * len(flat.cycles), dtype)
    for name in dtype.names or ():
        cut[name] = flat.records[name].reshape(len(cut), -1)
    return Record(cut, np.repeat(flat.cycles, per))


def inputs_of(seen: Mapping[str, Record], layers: int, channels: int) -> list[Inputs]:
    """Inputs of the convolution by vector."""
    record = shaped("conv_in", seen["conv_in"], layers, channels)
    values = record["value"]
    return [np.ascontiguousarray(values[..., vector]) for vector in range(values.shape[-1])]


def conv_states(window: Sequence[Inputs], cycles: int) -> Record:
    """State of the convolution after a token, from its last three inputs, oldest first."""
    layers, channels = window[0].shape
    words = -(-channels // HALVES)
    taps = np.zeros((layers, words * HALVES, 4), np.int8)
    for place, inputs in enumerate(window):
        taps[:, :channels, place] = inputs
    records = np.zeros(layers * words, np.dtype([("taps", "<i1", (4 * HALVES,))]))
    records["taps"] = taps.reshape(layers * words, -1)
    return Record(records, np.full(len(records), cycles, np.uint64))
