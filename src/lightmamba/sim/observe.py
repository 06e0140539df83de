"""From the records that the probes of one token left to the observables that the engine names."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.program import Kind
from lightmamba.arch.records import Found, Record, carried, coded, named, shaped
from lightmamba.blocks import part
from lightmamba.blocks.protocols import out_channels
from lightmamba.compiler.supported import the_layer
from lightmamba.config import ModelConfig
from lightmamba.formats import Formats

__all__ = ["Record", "observables", "rows_of"]


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
) -> Found:
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
    inputs = layers + head  # projections of the residual stream
    every = rows_of(probes)
    place = np.argsort(rows)  # where each natural row was computed
    mixers = part(k.kind, "observed").Observed(k, f, layers, probes, rows)

    residual = shaped("residual", probes["residual"], layers + 1, c.d_model)
    in_rms = shaped("rms_in", probes["rms_in"], inputs, 1)
    in_q = shaped("quant_in", probes["quant_in"], inputs, f.in_channels(c.d_model))
    in_rows = shaped("rows", every.where(every["kind"] <= Kind.Z), layers, k.in_rows)
    out_rows = shaped("rows", every.where(every["kind"] == Kind.OUT), layers, c.d_model)
    out_rms = shaped("rms_out", probes["rms_out"], layers, k.out_groups)
    out_q = shaped("quant_out", probes["quant_out"], layers, out_channels(k, f))

    yield from named("embedding", residual.take(0), "value", 2)
    for i in range(layers):
        at = f"layer.{i}"
        yield from carried(f"{at}.in_proj", "rms_in", in_rms.take(i))
        yield from coded(f"{at}.in_proj", "quant_in", in_q.take(i), f.block)
        yield from named(f"{at}.in_proj.rows", in_rows.take((i, place)), "value", 2)
        yield from mixers.layer(i)
        yield from carried(f"{at}.out_proj", "rms_out", out_rms.take(i))
        yield from coded(f"{at}.out_proj", "quant_out", out_q.take(i), f.block)
        yield from named(f"{at}.out_proj.rows", out_rows.take(i), "value", 2)
        yield from carried(at, "residual", residual.take(i + 1))
    if head:
        logits = shaped("rows", every.where(every["kind"] == Kind.LOGIT), c.vocab_size)
        yield from carried("head", "rms_in", in_rms.take(layers))
        yield from coded("head", "quant_in", in_q.take(layers), f.head_block)
        yield from named("head.logits", logits, "value", 2)
