"""From the records that the probes of one token left to the observables that the engine names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.machine import MACHINE
from lightmamba.arch.program import Kind
from lightmamba.blocks.mamba2.state import bc_block, padded_state, x_block
from lightmamba.blocks.protocols import out_channels
from lightmamba.compiler.supported import the_layer
from lightmamba.config import ModelConfig
from lightmamba.formats import Formats

__all__ = ["Record", "observables", "rows_of"]

Values = NDArray[Any]


@dataclass(frozen=True)
class Record:
    """What one probe saw: records in order, and the cycle of each."""

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


def rows_of(probes: Mapping[str, Record]) -> Record:
    """Every row that the epilogue finished, in order: the first of a cycle before the second."""
    both = [probes[name] for name in ("rows_first", "rows_second")]
    cycles = np.concatenate([record.cycles for record in both])
    order = np.argsort(cycles, kind="stable")
    return Record(np.concatenate([record.records for record in both])[order], cycles[order])


def observables(
    config: ModelConfig,
    formats: Formats,
    probes: Mapping[str, Record],
    *,
    rows: NDArray[np.int64],
    head: bool,
) -> Iterator[tuple[str, Values, Values]]:
    """Yield name, values and cycles of every observable of one token, in the engine's order.

    Parameters
    ----------
    config, formats
        Of the model that ran.
    probes
        Everything that the probes recorded during the token.
    rows : (in_rows,)
        Row of in_proj, in its natural order, that was computed at each place.
    head
        Whether the logits were wanted.

    Raises
    ------
    ValueError
        If a probe saw fewer or more records than the token has.
    """
    c, k, f, layers = config, the_layer(config), formats, config.n_layer
    outer = out_channels(k, f)
    inputs = layers + head  # projections of the residual stream
    every = rows_of(probes)
    place = np.argsort(rows)  # where each natural row was computed
    xbc = np.flatnonzero((rows >= k.d_inner) & (rows < k.d_inner + k.conv_dim))
    channel = np.argsort(rows[xbc])  # where each channel of the convolution was computed

    residual = _shape("residual", probes["residual"], layers + 1, c.d_model)
    in_rms = _shape("rms_in", probes["rms_in"], inputs, 1)
    in_q = _shape("quant_in", probes["quant_in"], inputs, f.in_channels(c.d_model))
    in_rows = _shape("rows", every.where(every["kind"] <= Kind.Z), layers, k.in_rows)
    out_rows = _shape("rows", every.where(every["kind"] == Kind.OUT), layers, c.d_model)
    conv = _shape("conv", probes["conv"], layers, k.conv_dim)
    state = _shape("conv_state", probes["conv_state"], layers, -(-k.conv_dim // 2))
    heads = _shape("heads", probes["heads"], layers, k.nheads)
    x = _shape("x", probes["x"], layers, k.nheads, k.headdim)
    bc = probes["bc"]
    B, C = (
        _shape("bc", bc.where(bc["kind"] == kind), layers, k.ngroups, k.d_state)
        for kind in (Kind.B, Kind.C)
    )
    width = probes["state"]["q"].shape[-1]
    words = -(-k.d_state // 32) * 32 // width
    h = _shape("state", probes["state"], layers, k.nheads, k.headdim, words)
    y = _shape("y", probes["y"], layers, k.nheads, k.headdim)
    gate = _shape("gate", probes["gate"], layers, k.d_inner)
    mixed = _shape("hadamard", probes["hadamard"], layers, outer)
    out_rms = _shape("rms_out", probes["rms_out"], layers, k.ngroups)
    out_q = _shape("quant_out", probes["quant_out"], layers, outer)

    yield from _named("embedding", residual.take(0), "value", 2)
    for i in range(layers):
        at = f"layer.{i}"
        yield from _carried(f"{at}.in_proj", "rms_in", in_rms.take(i))
        yield from _coded(f"{at}.in_proj", "quant_in", in_q.take(i), f.block)
        yield from _named(f"{at}.in_proj.rows", in_rows.take((i, place)), "value", 2)
        yield from _carried(at, "conv", conv.take((i, channel)))
        yield _conv_state(f"{at}.conv.state", state.take(i), channel, k.d_conv - 1)
        yield from _blocks(f"{at}.ssm.x", x.take(i), x_block(k).block)
        yield from _blocks(f"{at}.ssm.B", B.take(i), bc_block(k, f).block)
        yield from _blocks(f"{at}.ssm.C", C.take(i), bc_block(k, f).block)
        yield from _carried(at, "heads", heads.take(i))
        yield from _state(f"{at}.ssm", h.take(i), padded_state(k, f), bc_block(k, f).block)
        yield from _carried(at, "y", y.take(i))
        yield from _carried(at, "gate", gate.take(i))
        yield from _carried(at, "hadamard", mixed.take(i))
        yield from _carried(f"{at}.out_proj", "rms_out", out_rms.take(i))
        yield from _coded(f"{at}.out_proj", "quant_out", out_q.take(i), f.block)
        yield from _named(f"{at}.out_proj.rows", out_rows.take(i), "value", 2)
        yield from _carried(at, "residual", residual.take(i + 1))
    if head:
        logits = _shape("rows", every.where(every["kind"] == Kind.LOGIT), c.vocab_size)
        yield from _carried("head", "rms_in", in_rms.take(layers))
        yield from _coded("head", "quant_in", in_q.take(layers), f.head_block)
        yield from _named("head.logits", logits, "value", 2)


Found = Iterator[tuple[str, Values, Values]]


def _shape(name: str, record: Record, *shape: int) -> Record:
    expected = int(np.prod(shape))
    if len(record.cycles) != expected:
        raise ValueError(f"probe {name} saw {len(record.cycles)} records, expected {expected}")
    return record.reshape(*shape)


def _lead(values: Values, axes: int) -> Values:
    """Put axes of one in front: batch, and seqlen where it has one."""
    return values.reshape((1,) * axes + values.shape)


def _named(name: str, record: Record, field: str, axes: int) -> Found:
    yield name, _lead(record[field].astype(np.int64), axes), _lead(record.cycles, axes)


def _carried(within: str, probe: str, record: Record) -> Found:
    """The observables that the graph says a probe carries."""
    for element in next(s.elements for s in MACHINE.shown if s.name == probe):
        if element.observable:
            yield from _named(f"{within}.{element.observable}", record, element.name, 2)


def _coded(within: str, probe: str, record: Record, block: int) -> Found:
    """Activations, and the scale of each block."""
    for name, values, cycles in _carried(within, probe, record):
        step = block if name.endswith(".code") else 1
        yield name, values[..., ::step], cycles[..., ::step]


def _pad(values: Values, width: int) -> Values:
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])])


def _blocks(name: str, record: Record, block: int) -> Found:
    """Values along the last axis, zero-padded to whole blocks, and an exponent for each block."""
    width = -(-record.records.shape[-1] // block) * block
    q, cycles = record["q"].astype(np.int64), record.cycles
    yield name, _lead(_pad(q, width), 2), _lead(_pad(cycles, width), 2)
    first = record.take(np.s_[..., ::block])
    yield from _named(f"{name}_exp", first, "exp", 2)


def _state(name: str, record: Record, padded: int, block: int) -> Found:
    """State and exponents, cropped to what the model has."""
    lead = record.records.shape[:-1]
    q = record["q"].astype(np.int64).reshape(*lead, -1)[..., :padded]
    exp = record["exp"].astype(np.int64).reshape(*lead, -1)[..., : padded // block]
    words = record.cycles.shape[-1]
    per = q.shape[-1] // words if q.shape[-1] >= words else 1
    cycles = np.repeat(record.cycles, max(1, per), axis=-1)[..., : q.shape[-1]]
    yield f"{name}.h", _lead(q, 1), _lead(cycles, 1)
    steps = np.arange(exp.shape[-1]) * words // max(1, exp.shape[-1])
    yield f"{name}.h_exp", _lead(exp, 1), _lead(record.cycles[..., steps], 1)


def _conv_state(
    name: str, record: Record, channel: NDArray[np.int64], taps: int
) -> tuple[str, Values, Values]:
    """Last inputs, (1, taps, channels): two channels in a word, three int8 and a zero each."""
    inputs = record["taps"].astype(np.int64).reshape(-1, 4)[channel, 3 - taps : 3]
    cycles = np.repeat(record.cycles, 2)[channel]
    return name, _lead(inputs.T, 1), _lead(np.broadcast_to(cycles, inputs.T.shape), 1)
