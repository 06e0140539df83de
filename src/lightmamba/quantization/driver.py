"""Quantize a float model by a recipe, layer by layer along the integer path.

Each projection is quantized on the inputs that the already quantized layers before it really give,
in exact integers from the engine, and aims at the outputs of the float model. In memory are one
float layer and its moments; the residual streams lie where the store puts them.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.blocks import kind
from lightmamba.blocks.floating import numpy64, rms_norm
from lightmamba.blocks.layer import Mixer, out_channels
from lightmamba.model.causal_lm import Layer
from lightmamba.model.products import FastLinear
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel, Table
from lightmamba.model.qmodel.model import RMS_SHIFT
from lightmamba.numerics.formats import HEADROOM_LEAST, exponent_for, square_exponent
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.primitives import Ints
from lightmamba.quantization.calibrate import LayerTrace, run_layer
from lightmamba.quantization.experts import lower_experts
from lightmamba.quantization.integers import IntegerPath
from lightmamba.quantization.project import (
    NO_CODE,
    NO_WORDS,
    Fixed,
    FloatProjection,
    Inputs,
    lower_embedding,
    quantize_projection,
)
from lightmamba.quantization.recipe import Recipe
from lightmamba.quantization.rotation import KEPT
from lightmamba.quantization.streams import Rows, Run
from lightmamba.quantization.work import Floats, Work

__all__ = ["SCAN", "Lowering", "lower_model"]

LOGIT_EXP = -16
SCAN = (16, 64)  # sequences, and tokens of each, that are looked at before the work
STEPS = 5  # of a layer, for the bar
BLANK = QuantizedLinear(NO_WORDS, NO_CODE, 0, 0, 0)


class _TooWide(Exception):
    """The float stream outgrew the exponent of the integer one."""


def lower_model(
    work: Work,
    recipe: Recipe,
    *,
    valid_vocab: int,
    threads: int = 1,
    store: Run | None = None,
    also: Mapping[str, Mapping[str, Projection]] | None = None,
) -> QuantizedModel:
    """Integers of the model of ``work`` by ``recipe``; goes on from what ``store`` has.

    With ``also``, a projection such as ``layers.3.in_proj`` is lowered to other arithmetic as well,
    which the store keeps as ``layers.3.in_proj.NAME``; the model is the same.
    """
    recipe.check(work.config)
    store = store or Run()
    while True:
        for step in recipe.passes:
            step.begin(work)
        work.formats = recipe.formats
        try:
            return Lowering(work, recipe, valid_vocab, threads, store, also or {}).run()
        except _TooWide as error:  # so rare that nothing of the work is saved
            store.commit({"largest": error.args[0]})


def _real(tensor: Tensor | None, groups: int, channels: int) -> NDArray[np.float64] | None:
    return None if tensor is None else numpy64(_padded(tensor, groups, channels))


def _padded(x: Tensor, groups: int, channels: int) -> Tensor:
    """Zero-pad each of ``groups`` runs of the last axis to ``channels`` together."""
    parts = x.unflatten(-1, (groups, -1))
    return torch.nn.functional.pad(parts, (0, channels // groups - parts.shape[-1])).flatten(-2)


def _norm(weight: Tensor) -> Tensor | None:
    return None if bool((weight == 1).all()) else weight


class Lowering:
    """One run over the layers."""

    def __init__(
        self, work: Work, recipe: Recipe, valid_vocab: int, threads: int, store: Run,
        also: Mapping[str, Mapping[str, Projection]],
    ) -> None:  # fmt: skip
        self.work, self.recipe, self.store, self.also = work, recipe, store, also
        self.config, self.formats = work.config, work.formats
        self.facts: dict[str, Any] = {"done": -1, "errors": {}, **store.facts}
        self.errors: dict[str, float] = self.facts["errors"]
        work.notes.update(self.facts.get("notes", {}))
        if self.facts["done"] < 0:
            self._scan()
        self.rotation = self._keep_rotation()
        c, f, residual_exp = self.config, self.formats, self.facts["residual_exp"]
        unit = 2.0 ** (residual_exp + RMS_SHIFT)
        self.model = QuantizedModel(
            config=c,
            formats=f,
            valid_vocab=valid_vocab,
            embedding=Table(NO_WORDS.view(np.int8), NO_CODE, 0),
            layers=(),
            head=BLANK,
            residual_exp=residual_exp,
            logit_exp=LOGIT_EXP,
            eps=max(1, round(c.eps * c.d_model / unit**2)),
        )
        self.path = IntegerPath(self.model, work.ids.shape[1], threads)

    def _step(self, done: float) -> None:
        self.work.progress(done, self.config.n_layer + 2)

    @torch.no_grad()
    def _scan(self) -> None:
        """Look at some tokens in the float model, the one time that all layers are read first.

        Their largest value gives the residual's exponent. What other tokens need beyond it is in
        the headroom; where that does not do, the run begins again with a wider exponent. The
        inputs of the projections give the learned part of the rotation.
        """
        work, c = self.work, self.config
        sequences, seqlen = SCAN
        every = max(1, len(work.ids) // sequences)
        ids = torch.from_numpy(work.ids[::every][:sequences, :seqlen])
        u = work.weights.embedding()[ids].to(work.device, work.weights.dtype)
        one, largest = torch.ones_like(u[0, 0]), self.facts.get("largest", 0.0)
        nth = -(-u.numel() * (c.n_layer + 1) // KEPT)
        learned_from = len(u.flatten(0, 1)[::nth]) if work.rotation_steps else 0
        inputs = u.new_empty(c.n_layer + 1, learned_from, c.d_model)
        for i in range(c.n_layer + 1):
            turned = work.turned(u)
            largest = max(largest, float(turned.abs().max()))
            if learned_from:
                inputs[i] = rms_norm(turned.flatten(0, 1)[::nth], one, c.eps)
            if i < c.n_layer:
                self._step(i / c.n_layer)
                layer = work.weights.layer(i).to(work.device)
                u, _ = layer(u, layer.mixer.empty_cache(len(u)))
        exponent = square_exponent(largest, 32, RMS_SHIFT, c.eps * c.d_model)
        self.facts |= {"largest": largest, "residual_exp": exponent}
        if work.rotation is not None and learned_from:
            work.rotation = work.rotation.learned(
                inputs, block=self.formats.block, steps=work.rotation_steps, seed=work.seed
            )

    def _keep_rotation(self) -> tuple[Rows, ...]:
        """Write the learned part of the rotation down, or take it from the run that is resumed."""
        work = self.work
        if work.rotation is None or not work.rotation_steps:
            return ()
        runs, size = work.rotation.runs
        rows = self.store.rows("rotation", runs * size, size, np.float64)
        if work.rotation.blocks is not None:
            rows.write(slice(None), work.rotation.blocks.double().flatten(0, 1).cpu().numpy())
        blocks = torch.from_numpy(rows.read(slice(None))).unflatten(0, (runs, size))
        work.rotation = replace(work.rotation, blocks=blocks)
        return (rows,)

    def _check_width(self, largest: float) -> None:
        """Begin again if headroom is so small that integers might saturate."""
        if exponent_for(largest, 32, HEADROOM_LEAST) > self.model.residual_exp:
            raise _TooWide(max(largest, self.facts["largest"]))

    def rows(self, name: str, channels: int, dtype: Any, vectors: int | None = None) -> Rows:
        """A stream of the run, by default with a vector for each token."""
        count = self.work.ids.size if vectors is None else vectors
        return self.store.rows(name, count, channels, dtype)

    def _streams(self, i: int) -> tuple[Floats, Rows]:
        """The two residual streams in front of layer ``i``."""
        dtype = torch.zeros((), dtype=self.work.weights.dtype).numpy().dtype
        floats = self.rows(f"float.{i}", self.config.d_model, dtype)
        integers = self.rows(f"integer.{i}", self.config.d_model, np.int32)
        return Floats(floats, self.work.ids.shape[1], self.work.device), integers

    def _commit(self, done: int, floats: Floats, integers: Rows) -> None:
        self.facts |= {"done": done, "errors": self.errors, "notes": self.work.notes}
        self.store.commit(dict(self.facts), floats.rows, integers, *self.rotation)

    def run(self) -> QuantizedModel:
        n = self.config.n_layer
        floats, integers = self._streams(max(self.facts["done"], 0))
        if self.facts["done"] < 0:
            self._embed(floats, integers)
            self._commit(0, floats, integers)
        for i in range(self.facts["done"], n):
            floats, integers = self._layer(i, floats, integers)
            self._commit(i + 1, floats, integers)
        if self.facts["done"] == n:
            self._step(n + 1)
            self.store.put("head", self._head(floats, integers))
            self._commit(n + 1, floats, integers)
        for rows in (floats.rows, integers, *self.rotation):
            self.store.drop(rows)
        self._step(n + 2)
        origin = {"errors": {k: round(v, 9) for k, v in self.errors.items()}, **self.work.notes}
        return replace(
            self.model, embedding=self.store.get("embedding"), layers=self.store.layers(n),
            head=self.store.get("head"), origin=origin,
        )  # fmt: skip

    @torch.no_grad()
    def _embed(self, floats: Floats, integers: Rows) -> None:
        """Both streams as they begin, and the table."""
        work, f = self.work, self.formats
        ids, weight = work.ids.reshape(-1), work.weights.embedding()
        channels = f.in_channels(self.config.d_model)
        for rows, _ in floats.batches():
            u = work.turned(weight[torch.from_numpy(ids[rows])])
            self._check_width(float(u.abs().max()))
            floats.rows.write(rows, u.cpu().numpy())
        table = lower_embedding(lambda rows: work.turned(weight[rows]), len(weight), f, channels)
        self.store.put("embedding", table)
        path = IntegerPath(replace(self.model, embedding=table), work.ids.shape[1], 1)
        path.embed(work.ids, integers)

    def quantize(
        self, name: str, op: Projection, inputs: Inputs, target: FloatProjection
    ) -> QuantizedLinear:
        """Integers of a projection, whose error is noted."""
        how: dict[str, Any] = {"rounding": self.work.rounding, "correct": self.work.correct}
        for what, other in self.also.get(name, {}).items():
            mine = replace(target, weight=target.weight.clone())
            self.store.put(f"{name}.{what}", quantize_projection(other, mine, inputs, **how)[0])
        linear, self.errors[name] = quantize_projection(op, target, inputs, **how)
        return linear

    def quantized(
        self, op: Projection, target: FloatProjection, inputs: Inputs, fixed: Fixed
    ) -> tuple[QuantizedLinear, float]:
        """Integers of one block of a matrix, and their error."""
        return quantize_projection(
            op, target, inputs, rounding=self.work.rounding, correct=self.work.correct, fixed=fixed
        )

    def residual_inputs(self, floats: Floats, norm: Tensor, before: Any, u_q: Rows) -> Inputs:
        """Inputs of in_proj or the head; ``before`` maps the float ones to what they see."""
        c, exp = self.config, self.model.residual_exp
        channels = self.formats.in_channels(c.d_model)
        parts = [
            self.path.ops.rms(u_q.read(slice(at, at + 4096)), RMS_SHIFT, 1, self.model.eps)
            for at in range(0, len(u_q), 4096)
        ]
        mantissa, j = (np.concatenate(x) for x in zip(*parts, strict=True))

        def wanted(rows: slice) -> Tensor:
            return _padded(before(rms_norm(floats.read(rows), norm, c.eps)), 1, channels)

        return Inputs(
            x=u_q, groups=1, channels=channels, rms=(mantissa, j), exponent=exp,
            square_exponent=exp + RMS_SHIFT, gain=math.sqrt(c.d_model),
            quantize=self.path.ops.quantize, wanted=wanted,
        )  # fmt: skip

    @torch.no_grad()
    def _layer(self, i: int, floats: Floats, u_q: Rows) -> tuple[Floats, Rows]:
        c, f = self.config, self.formats
        self._step(i + 1)
        layer = self.work.layer(i, self.recipe.passes, floats)
        mixer, channels = layer.mixer, f.in_channels(c.d_model)
        after, after_q = self._streams(i + 1)
        trace = self._float_layer(layer, floats, after)
        self._step(i + 1 + 1 / STEPS)
        lowered: Mixer = kind(mixer.sizes.kind).floating.lower(mixer, f, trace.ranges)
        if mixer.sizes.routed:
            done = lower_experts(
                self, i, layer, lowered, floats, u_q, after,
                lambda share: self._step(i + 1 + (1 + 3 * share) / STEPS),
            )  # fmt: skip
            self.path.whole(i, done, u_q, after_q)
            return self._layer_done(i, done, (floats.rows, u_q), after, after_q)
        bias = mixer.in_proj.bias
        in_proj = self.quantize(
            f"layers.{i}.in_proj",
            f.of(i, "in_proj"),
            self.residual_inputs(floats, layer.norm, layer.before_in, u_q),
            FloatProjection(
                weight=_padded(mixer.in_proj.weight, 1, channels).clone(),
                input_scale=_real(_norm(layer.norm), 1, channels),
                input_shift=_real(getattr(layer.before_in, "shift", None), 1, channels),
                bias=None if bias is None else numpy64(bias),
                row_exponent=lowered.row_exponents(),
            ),
        )
        mixer.in_proj.weight.data = torch.empty(0)
        self._step(i + 1 + 2 / STEPS)
        done = QuantizedLayer({"in_proj": in_proj, "out_proj": BLANK}, lowered)
        mixed = self.rows("mixed", out_channels(mixer.sizes, f), np.int32)
        rms = self.path.mix(i, done, u_q, mixed)
        self._step(i + 1 + 3 / STEPS)
        out_proj = self._out_proj(i, layer, lowered, (mixed, rms), u_q, after)
        done = done.with_linears(out_proj=out_proj)
        self._step(i + 1 + 4 / STEPS)
        self.path.finish(i, done, mixed, rms, u_q, after_q)
        return self._layer_done(i, done, (mixed, floats.rows, u_q), after, after_q)

    def _layer_done(
        self, i: int, done: QuantizedLayer, used: Iterable[Rows], after: Floats, after_q: Rows
    ) -> tuple[Floats, Rows]:
        """Keep a layer, and drop the streams that are used up."""
        self.store.put(f"layers.{i}", done)
        for rows in used:
            self.store.drop(rows)
        return after, after_q

    def _float_layer(self, layer: Layer, floats: Floats, after: Floats) -> LayerTrace:
        """Fill the float stream after a layer; what was seen on the way."""
        trace = LayerTrace()
        for rows, u in floats.batches():
            with FastLinear():
                out = run_layer(layer, u, trace.see)
            self._check_width(float(out.abs().max()))
            after.rows.write(rows, out.flatten(0, 1).cpu().numpy())
        return trace

    def _out_proj(
        self, i: int, layer: Layer, lowered: Mixer, given: tuple[Rows, tuple[Ints, Ints]],
        before: Rows, after: Floats,
    ) -> QuantizedLinear:  # fmt: skip
        """Quantize out_proj, whose target includes the error of the integer stream ``before``."""
        f, mixer, sizes = self.formats, layer.mixer, lowered.sizes
        bias, channels, groups = mixer.out_proj.bias, out_channels(sizes, f), sizes.out_groups
        dim = sizes.out_dim // groups

        def wanted(rows: slice) -> Tensor:
            u = after.read(rows)
            out = u - torch.from_numpy(before.read(rows)).to(u) * 2.0**self.model.residual_exp
            return out if bias is None else out - bias

        inputs = Inputs(
            x=given[0], groups=groups, channels=channels, rms=given[1],
            exponent=lowered.out_exponent, square_exponent=lowered.norm_exponent,
            gain=math.sqrt((dim if sizes.out_normed else 1) / f.transform.size(dim)),
            quantize=self.path.ops.quantize, wanted=wanted, outputs=True,
        )  # fmt: skip
        target = FloatProjection(
            weight=_padded(mixer.out_proj.weight, groups, channels).clone(),
            input_shift=_real(getattr(mixer.before_out, "shift", None), groups, channels),
            bias=None if bias is None else numpy64(bias),
            row_exponent=self.model.residual_exp,
        )
        return self.quantize(f"layers.{i}.out_proj", f.of(i, "out_proj"), inputs, target)

    @torch.no_grad()
    def _head(self, floats: Floats, u_q: Rows) -> QuantizedLinear:
        work, c = self.work, self.config
        channels, norm = self.formats.in_channels(c.d_model), work.norm_f()
        weight = norm.new_empty(c.vocab_size, channels)
        for at in range(0, c.vocab_size, 4096):
            rows = slice(at, min(at + 4096, c.vocab_size))
            weight[rows] = _padded(work.head(rows), 1, channels)
        target = FloatProjection(weight=weight, input_scale=_real(_norm(norm), 1, channels))
        inputs = self.residual_inputs(floats, norm, lambda x: x, u_q)
        return self.quantize("head", self.formats.head, inputs, target)
