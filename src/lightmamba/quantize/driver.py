"""Quantize a float model: apply a recipe, then lower it layer by layer along the integer path.

Each projection is quantized on the inputs that the already quantized layers before it really give,
in exact integers from the engine, and aims at the outputs of the float model.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.engine import Engine, State
from lightmamba.engine.blas import one_blas_thread
from lightmamba.mamba2 import rms_norm
from lightmamba.numerics.primitives import Ints
from lightmamba.numerics.tables import tables
from lightmamba.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.qmodel.model import RMS_SHIFT
from lightmamba.quantize.calibrate import LayerTrace, trace_layer
from lightmamba.quantize.lower import (
    layer_exponents,
    lower_embedding,
    lower_layer,
    numpy64,
    pad_groups,
    square_exponent,
)
from lightmamba.quantize.project import NO_CODE, NO_WORDS, Inputs, Target, quantize_projection
from lightmamba.quantize.recipe import Recipe
from lightmamba.quantize.work import Work

__all__ = ["lower_model"]

BATCH = 8  # sequences that go through the engine at once
LOGIT_EXP = -16
T = TypeVar("T")
BLANK = QuantizedLinear(NO_WORDS, NO_CODE, 0, 0, 0)


def lower_model(
    work: Work, recipe: Recipe, *, valid_vocab: int, threads: int = 1
) -> QuantizedModel:
    """Apply the passes of ``recipe`` to ``work`` and lower its model to integers."""
    for step in recipe.passes:
        step.apply(work)
    return _Lowering(work, valid_vocab, threads).run()


def _real(tensor: Tensor | None, groups: int, channels: int) -> NDArray[np.float64] | None:
    return None if tensor is None else pad_groups(numpy64(tensor), groups, channels)


class _Lowering:
    """One run over the layers; ``layers`` grows as they are done."""

    def __init__(self, work: Work, valid_vocab: int, threads: int) -> None:
        self.work, self.threads = work, threads
        self.config, self.formats = work.model.config, work.formats
        self.errors: dict[str, float] = {}
        self.layers: list[QuantizedLayer] = []
        c, f = self.config, self.formats
        residual_exp = self._residual_exponent()
        unit = 2.0 ** (residual_exp + RMS_SHIFT)
        table = lower_embedding(work.model.embedding.weight, f, f.in_channels(c))
        self.model = QuantizedModel(
            config=c,
            formats=f,
            valid_vocab=valid_vocab,
            embedding=table,
            layers=(),
            head=BLANK,
            residual_exp=residual_exp,
            logit_exp=LOGIT_EXP,
            eps=max(1, round(c.eps * c.d_model / unit**2)),
            dt_limits=tables()[1].limits(*c.dt_limit),
        )

    @torch.no_grad()
    def _residual_exponent(self) -> int:
        """From the largest value that the float residual stream takes, after any layer."""
        largest = 0.0
        ids = torch.from_numpy(self.work.ids)
        for start in range(0, len(ids), BATCH):
            u = self.work.model.embedding(ids[start : start + BATCH])
            for layer in self.work.model.layers:
                largest = max(largest, float(u.abs().max()))
                u, _ = layer(u, layer.mixer.empty_cache(len(u)))
            largest = max(largest, float(u.abs().max()))
        return square_exponent(largest, 32, RMS_SHIFT, self.config.eps * self.config.d_model)

    def run(self) -> QuantizedModel:
        n, ids = self.config.n_layer, self.work.ids
        u = self.work.embedded()
        engine = Engine(self.model)
        u_q = np.concatenate([engine.embed(rows[None], Counter()) for rows in ids])
        u_q = u_q.astype(np.int32)
        for i, layer in enumerate(self.work.model.layers):
            self.work.progress("quantizing", i, n + 1)
            u, trace = trace_layer(layer, u)
            u_q = self._layer(i, trace, u_q)
        self.work.progress("quantizing", n, n + 1)
        head = self._head(u, u_q)
        self.work.progress("quantizing", n + 1, n + 1)
        origin = {"errors": {k: round(v, 9) for k, v in self.errors.items()}, **self.work.notes}
        return replace(self.model, layers=tuple(self.layers), head=head, origin=origin)

    def _engine(self) -> Engine:
        return Engine(replace(self.model, layers=tuple(self.layers)))

    def _quantize(
        self, name: str, inputs: Inputs, target: Target, *, head: bool = False
    ) -> QuantizedLinear:
        f, work = self.formats, self.work
        linear, self.errors[name] = quantize_projection(
            f.head if head else f.projection, target, inputs,
            rounding=work.rounding, correct=work.correct,
        )  # fmt: skip
        return linear

    def _residual_inputs(self, u_q: NDArray[np.int32], wanted: NDArray[np.float32]) -> Inputs:
        c, f = self.config, self.formats
        flat = u_q.reshape(-1, c.d_model)
        engine = self._engine()
        mantissa, j = engine.ops.rms(flat, RMS_SHIFT, 1, self.model.eps)
        channels = f.in_channels(c)
        exp = self.model.residual_exp
        return Inputs(
            x=pad_groups(flat, 1, channels),
            rms=(mantissa, j),
            exponent=exp,
            square_exponent=exp + RMS_SHIFT,
            wanted=pad_groups(wanted.reshape(-1, c.d_model), 1, channels),
            gain=math.sqrt(c.d_model),
        )

    def _norm(self, weight: Tensor) -> Tensor | None:
        return None if bool((weight == 1).all()) else weight

    def _layer(self, i: int, trace: LayerTrace, u_q: NDArray[np.int32]) -> NDArray[np.int32]:
        c, f, layer = self.config, self.formats, self.work.model.layers[i]
        mixer, channels = layer.mixer, f.in_channels(c)
        e = layer_exponents(c, f, mixer, trace)
        bias = mixer.in_proj.bias
        in_proj = self._quantize(
            f"layers.{i}.in_proj",
            self._residual_inputs(u_q, trace.inputs("in_proj.input")),
            Target(
                weight=pad_groups(numpy64(mixer.in_proj.weight), 1, channels),
                input_scale=_real(self._norm(layer.norm), 1, channels),
                input_shift=_real(getattr(layer.before_in, "shift", None), 1, channels),
                bias=None if bias is None else numpy64(bias),
                row_exponent=e.of_rows(c),
            ),
        )
        self.layers.append(lower_layer(c, mixer, trace, e, in_proj, BLANK))
        mixed, rms = self._through_mixer(i, u_q)

        channels, groups, bias = f.out_channels(c), c.ngroups, mixer.out_proj.bias
        wanted = trace.inputs("out_proj.input").reshape(len(mixed), -1)
        inputs = Inputs(
            x=mixed,
            rms=rms,
            exponent=e.weighted + e.hadamard_shift,
            square_exponent=e.gate,
            wanted=pad_groups(wanted, groups, channels),
            gain=math.sqrt(c.group_dim / f.transform.size(c.group_dim)),
        )
        target = Target(
            weight=pad_groups(numpy64(mixer.out_proj.weight), groups, channels),
            input_shift=_real(getattr(mixer.before_out, "shift", None), groups, channels),
            bias=None if bias is None else numpy64(bias),
            row_exponent=self.model.residual_exp,
        )
        out_proj = self._quantize(f"layers.{i}.out_proj", inputs, target)
        self.layers[i] = replace(self.layers[i], out_proj=out_proj)
        engine, flat = self._engine(), u_q.reshape(-1, c.d_model)

        def finish(rows: slice) -> NDArray[np.int32]:
            part = rms[0][rows], rms[1][rows]
            u = flat[rows].astype(np.int64)
            out, _ = engine.out_proj(i, mixed[rows].astype(np.int64), part, u, Counter())
            return out.astype(np.int32)

        return np.concatenate(self._map(finish, inputs.batches())).reshape(u_q.shape)

    def _through_mixer(
        self, i: int, u_q: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], tuple[Ints, Ints]]:
        """Inputs of out_proj, (vectors, channels), and their rms, by the engine."""
        c, engine = self.config, self._engine()

        def run(rows: slice) -> tuple[NDArray[np.int32], Ints, Ints]:
            u = u_q[rows]
            lead = u.shape[:2]
            out, _ = engine.in_proj(i, u.reshape(-1, c.d_model).astype(np.int64), Counter())
            state = State.empty(engine.model, len(u))
            y, _ = engine.mix(i, out.reshape(*lead, -1), state, Counter())
            z = out[:, c.splits()["z"]]
            mixed, rms, _ = engine.gate(i, y.reshape(-1, c.d_inner), z, Counter())
            return mixed.astype(np.int32), *rms

        parts = self._map(run, [slice(s, s + BATCH) for s in range(0, len(u_q), BATCH)])
        mixed, mantissa, j = (np.concatenate(x) for x in zip(*parts, strict=True))
        return mixed, (mantissa, j)

    def _map(self, work: Callable[[slice], T], pieces: Iterable[slice]) -> list[T]:
        with one_blas_thread(), ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(work, pieces))

    @torch.no_grad()
    def _head(self, u: Tensor, u_q: NDArray[np.int32]) -> QuantizedLinear:
        model, c = self.work.model, self.config
        channels = self.formats.in_channels(c)
        wanted = torch.cat([rms_norm(part, model.norm_f, c.eps) for part in u.split(BATCH)])
        target = Target(
            weight=pad_groups(numpy64(model.lm_head.weight), 1, channels),
            input_scale=_real(self._norm(model.norm_f), 1, channels),
        )
        return self._quantize("head", self._residual_inputs(u_q, wanted.numpy()), target, head=True)
