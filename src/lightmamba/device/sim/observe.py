"""From the records that the probes of one token left to the observables that the engine names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.records import Found, Record, Taken, carried, coded, named
from lightmamba.blocks import kind
from lightmamba.blocks.in_hardware import Seen
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.probes import probes
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["Record", "observables", "rows_of", "same", "vector_of"]


ROWS = ("rows_first", "rows_second")  # probes of what the epilogue finishes


def rows_of(probes: Mapping[str, Record]) -> Record:
    """Every row that the epilogue finished, in order: the first of a cycle before the second."""
    both = [probes[name] for name in ROWS]
    cycles = np.concatenate([record.cycles for record in both])
    order = np.argsort(cycles, kind="stable")
    records = np.concatenate([record.records for record in both])[order]
    return Record(records, cycles[order], both[0].elements)


def observables(
    config: ModelConfig,
    formats: Formats,
    probes: Mapping[str, Record],
    *,
    rows: Sequence[NDArray[np.int64]],
    head: bool,
    kinds: tuple[str, ...],
) -> Found:
    """Yield name, values and cycles of every observable of one token, in the engine's order.

    Parameters
    ----------
    config, formats
        Of the model that ran.
    probes
        Everything that the probes recorded during the token.
    rows : sequence of (block_rows,)
        By layer: row of in_proj, in its natural order, that was computed at each place.
    head
        Whether the logits were wanted.
    kinds
        Of layers that the hardware has units for.

    Raises
    ------
    ValueError
        If a probe saw fewer or more records than the token has.
    """
    c, f, graph = config, formats, machine(kinds)
    channels = f.in_channels(c.d_model)
    every, numbers = rows_of(probes), graph.kinds
    of_in = np.isin(every["kind"], [numbers[row.name] for row in graph.rows])
    take = Taken(
        {
            **{name: record for name, record in probes.items() if name not in ROWS},
            "in rows": every.where(of_in),
            "out rows": every.where(every["kind"] == numbers["out"]),
            "logits": every.where(every["kind"] == numbers["logit"]),
        }
    )
    yield from named("embedding", take.items("residual", c.d_model), "value", 2)
    for i, (layer, order) in enumerate(zip(c.layers, rows, strict=True)):
        seen = Seen(f"layer.{i}", layer, f, take, order, numbers, c.d_model)
        yield from kind(layer.kind).hardware.observed_layer(seen)
    if head:
        yield from carried("head", take("rms_in", 1))
        yield from coded("head", take.items("quant_in", channels), f.head_block)
        yield from named("head.logits", take("logits", c.vocab_size), "value", 2)
    take.end()


def vector_of(arch: ArchConfig, seen: Mapping[str, Record], vector: int) -> dict[str, Record]:
    """Records of one vector; those that several vectors share are not among them."""
    found = {}
    for probe in probes(arch):
        if not probe.tokens:
            if arch.tokens == 1 and any(each.observable for each in probe.elements):
                found[probe.name] = seen[probe.name]
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
