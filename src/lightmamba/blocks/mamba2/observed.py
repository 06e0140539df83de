"""Observables of a Mamba2 layer from the accelerator's probes, by the engine's names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.records import Found, Record, Values, blocked, carried, lead, shaped
from lightmamba.blocks.in_hardware import Seen
from lightmamba.blocks.mamba2.layout import conv_order
from lightmamba.blocks.mamba2.quantized import Sizes, bc_block, padded_state, x_block
from lightmamba.numerics.primitives import Ints

__all__ = ["Pass", "observables", "updates_of"]

INPUTS = 3  # of a channel, that the convolution keeps
Kept = list[NDArray[np.int8]]  # inputs of all layers' channels, in the order of the rows


class Pass:
    """Records of the probes in a pass of several tokens, taken apart by token and made whole.

    The convolution's probe shows the new input of a channel; a token needs the earlier ones too.

    Parameters
    ----------
    layers : sequence of Sizes
        All layers of the kind.
    arch : ArchConfig
    seen : {probe: Record}
        Of the pass.
    steps : int
        Updates of each state.
    """

    def __init__(
        self, layers: Sequence[Sizes], arch: ArchConfig, seen: Mapping[str, Record], steps: int
    ) -> None:
        channels = sum(layer.conv_dim for layer in layers)
        values = shaped("conv_in", seen["conv_in"], channels)["value"]
        self._inputs = [np.ascontiguousarray(values[:, n]) for n in range(values.shape[1])]
        self._updates = updates_of(seen["updates"], layers, steps, arch)

    def token(
        self, probes: Mapping[str, Record], vector: int, step: int, kept: Kept
    ) -> tuple[dict[str, Record], Kept]:
        """Records of a token, whole, and what the next one of its sequence needs."""
        last = [*kept, self._inputs[vector]][-INPUTS:]
        own = probes["conv_in"]
        records = np.zeros(len(own.cycles), np.dtype([("value", "<i1", (INPUTS,))]))
        records["value"] = np.stack(last, axis=-1)
        whole = replace(own, records=records)
        return {**probes, "conv_in": whole, "updates": self._updates[step]}, last

    def again(self, step: int) -> Record:
        """Record of a step that applies a recorded token again: the same as the first time."""
        return self._updates[step]

    @staticmethod
    def kept(
        layers: Sequence[Sizes],
        rows: Sequence[Ints] = (),
        states: Sequence[Mapping[str, NDArray[Any]]] | None = None,
    ) -> Kept:
        """Last inputs as the engine's states of a sequence have them; zeros where it begins."""
        if states is None:
            return [np.zeros(sum(layer.conv_dim for layer in layers), np.int8)] * INPUTS
        found = [
            state["conv"][0][:, conv_order(layer, order)]
            for layer, order, state in zip(layers, rows, states, strict=True)
        ]
        return [np.concatenate([layer[tap] for layer in found]) for tap in range(-INPUTS, 0)]


def updates_of(
    record: Record, layers: Sequence[Sizes], steps: int, arch: ArchConfig
) -> list[Record]:
    """Updated states of each step of a pass, a record for each row or for blocks of one."""
    record = _blocks(record, arch.block_words)
    heads = sum(layer.nheads for layer in layers)
    words = len(record.cycles) // max(1, heads * steps)
    whole = shaped("updates", record, heads, steps, words)
    return [_rows(whole.take((slice(None), n)), arch.word_rows) for n in range(steps)]


def _blocks(record: Record, words: int) -> Record:
    """Records of a block at least: words that are parts of one are joined.

    The words of a block share its exponent; where they differ, the joined record gets one that no
    block has.
    """
    if words == 1:
        return record
    flat = record.reshape(-1, words)
    q, exp = flat.records["q"], flat.records["exp"]
    whole = np.empty(len(q), np.dtype([("q", q.dtype, (q[0].size,)), ("exp", exp.dtype)]))
    whole["q"] = q.reshape(len(q), -1)
    whole["exp"] = np.where((exp == exp[:, :1]).all(axis=1), exp[:, 0], np.iinfo(exp.dtype).max)
    return replace(record, records=whole, cycles=flat.cycles[:, -1])


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
    return replace(flat, records=cut, cycles=np.repeat(flat.cycles, rows))


def observables(seen: Seen) -> Found:
    """Yield name, values and cycles of all between in_proj and out_proj, in the engine's order.

    The records of ``conv_in`` hold the last three inputs of a channel.
    """
    k, f, at, take = seen.sizes, seen.formats, seen.at, seen.take
    channel = np.argsort(conv_order(k, seen.rows))  # where each one was computed
    yield from carried(f"{at}", take("conv", k.conv_dim).take(channel))
    inputs = take("conv_in", k.conv_dim).take(channel)
    yield _conv_state(f"{at}.conv.state", inputs, k.d_conv - 1)
    x, bc = take("x", k.nheads, k.headdim), take("bc", 2 * k.ngroups * k.d_state)
    yield from blocked(f"{at}.ssm.x", x, x_block(k).block)
    for name in ("B", "C"):
        found = bc.where(bc["kind"] == seen.kinds[name]).reshape(k.ngroups, k.d_state)
        yield from blocked(f"{at}.ssm.{name}", found, bc_block(k, f).block)
    yield from carried(at, take("heads", k.nheads))
    words = -(-k.d_state // 32) * 32 // take.elements("updates")
    h = take("updates", k.nheads, k.headdim, words)
    yield from _state(f"{at}.ssm", h, padded_state(k, f), bc_block(k, f).block)
    yield from carried(at, take("y", k.nheads, k.headdim))
    yield from carried(at, take("gate", k.d_inner))
    yield from seen.mixed


def _state(name: str, record: Record, padded: int, block: int) -> Found:
    """State and exponents, cropped to what the model has."""
    shape = record.records.shape[:-1]
    q = record["q"].astype(np.int64).reshape(*shape, -1)[..., :padded]
    exp = record["exp"].astype(np.int64).reshape(*shape, -1)[..., : padded // block]
    words = record.cycles.shape[-1]
    per = q.shape[-1] // words if q.shape[-1] >= words else 1
    cycles = np.repeat(record.cycles, max(1, per), axis=-1)[..., : q.shape[-1]]
    yield f"{name}.h", lead(q, 1), lead(cycles, 1)
    steps = np.arange(exp.shape[-1]) * words // max(1, exp.shape[-1])
    yield f"{name}.h_exp", lead(exp, 1), lead(record.cycles[..., steps], 1)


def _conv_state(name: str, record: Record, taps: int) -> tuple[str, Values, Values]:
    """Last inputs of each channel, (1, taps, channels)."""
    inputs = record["value"].astype(np.int64)[:, -taps:].T
    return name, lead(inputs, 1), lead(np.broadcast_to(record.cycles, inputs.shape), 1)
