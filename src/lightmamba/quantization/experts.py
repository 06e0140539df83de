"""Quantize a layer whose router chooses blocks: the router, then each block on its own tokens.

Tokens are those that the integer path sends to a block, and a token counts by its weight. A block
that none takes has the second moments of all. The last block that every token takes aims at what is
left: the float stream after the layer, less the integer stream before it and the outputs of all
other blocks. Source: GPTQ (arXiv 2210.17323).
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmamba.blocks.floating import rms_norm
from lightmamba.blocks.layer import Mixer, unit_rms
from lightmamba.engine.routed import Choice
from lightmamba.model.causal_lm import Layer
from lightmamba.model.config import ModelConfig
from lightmamba.model.products import product
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.numerics.blocks import HALF
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.routing import ONE
from lightmamba.quantization.integers import IntegerPath
from lightmamba.quantization.project import (
    NO_CODE,
    NO_WORDS,
    Fixed,
    FloatProjection,
    Inputs,
    act_base_of,
    pad_columns,
)
from lightmamba.quantization.streams import Picked, Rows, Run
from lightmamba.quantization.weights import PackedWeights, base_of
from lightmamba.quantization.work import Work

__all__ = ["lower_experts"]

BATCH = 2048  # vectors that go through a block together
BLANK = QuantizedLinear(NO_WORDS, NO_CODE, 0, 0, 0)


class Lowering(Protocol):
    """A run over the layers of a model (``driver``)."""

    config: ModelConfig
    formats: Formats
    model: QuantizedModel
    path: IntegerPath
    work: Work
    store: Run
    errors: dict[str, float]

    def rows(self, name: str, channels: int, dtype: Any, vectors: int | None = None) -> Rows:
        """A stream of the run."""

    def residual_inputs(self, floats: Any, norm: Tensor, before: Any, u_q: Rows) -> Inputs:
        """Inputs of projections of the residual stream."""

    def quantize(
        self, name: str, op: Projection, inputs: Inputs, target: FloatProjection
    ) -> QuantizedLinear:
        """Integers of a projection, whose error is noted."""

    def quantized(
        self, op: Projection, target: FloatProjection, inputs: Inputs, fixed: Fixed
    ) -> tuple[QuantizedLinear, float]:
        """Integers of one block of a matrix, and their error."""


@dataclass(frozen=True)
class _Tokens:
    """Tokens of a block, the places at which they list it, and its weight for each."""

    vectors: NDArray[np.int64]
    places: NDArray[np.int64]
    weights: NDArray[np.float64]

    def batches(self) -> Iterator[slice]:
        for at in range(0, len(self.vectors), BATCH):
            yield slice(at, at + BATCH)


def lower_experts(
    lowering: Lowering, index: int, layer: Layer, mixer: Mixer, floats: Any, before: Rows,
    after: Any, progress: Callable[[float], None],
) -> QuantizedLayer:  # fmt: skip
    """Integers of a layer of experts.

    Parameters
    ----------
    lowering, index
        The run, and which layer.
    layer, mixer
        The float layer, and what of it is lowered already.
    floats, before, after
        The float and the integer stream before the layer, and the float one after it.
    progress
        Called with the share of the blocks that are done.
    """
    return _Experts(lowering, index, layer, mixer, floats, before, after, progress).run()


class _Experts:
    def __init__(
        self, lowering: Lowering, index: int, layer: Layer, mixer: Mixer, floats: Any,
        before: Rows, after: Any, progress: Callable[[float], None],
    ) -> None:  # fmt: skip
        self.lowering, self.index, self.layer, self.mixer = lowering, index, layer, mixer
        self.floats, self.before, self.after = floats, before, after
        self.progress, self.done = progress, 0
        self.sizes, self.formats = mixer.sizes, lowering.formats
        self.d_model = lowering.config.d_model
        self.channels = self.formats.in_channels(self.d_model)

    def run(self) -> QuantizedLayer:
        name = f"layers.{self.index}"
        inputs = self.lowering.residual_inputs(
            self.floats, self.layer.norm, self.layer.before_in, self.before
        )
        weight = pad_columns(self.layer.mixer.router.weight, self.channels).clone()
        router = self.lowering.quantize(
            f"{name}.router", self.formats.router, inputs, FloatProjection(weight)
        )
        done = QuantizedLayer({"router": router, "in_proj": BLANK, "out_proj": BLANK}, self.mixer)
        chosen = self._choose(done)
        tokens = [self._tokens(chosen, block) for block in range(self.sizes.blocks)]
        done = done.with_linears(in_proj=self._in_proj(inputs, router, tokens))
        mixed = self._mixed(done, chosen, tokens)
        done = done.with_linears(out_proj=self._out_proj(mixed, tokens))
        self.lowering.store.drop(mixed)
        return done

    def _choose(self, layer: QuantizedLayer) -> Choice:
        """Choice of the blocks of all tokens, by the integers."""
        routed, lost = self.lowering.path.routed(self.index, layer), Counter[str]()
        parts = [
            routed.choose(self.before.read(slice(at, at + BATCH)).astype(np.int64), lost)
            for at in range(0, len(self.before), BATCH)
        ]
        return Choice.together(parts)

    def _tokens(self, chosen: Choice, block: int) -> _Tokens:
        vectors, places = chosen.of(block)
        return _Tokens(vectors, places, chosen.weights[vectors, places] / ONE)

    def _in_proj(
        self, inputs: Inputs, router: QuantizedLinear, tokens: list[_Tokens]
    ) -> QuantizedLinear:
        op = self.sizes.projection(self.formats, self.index, "in_proj")
        weight, each = self.layer.mixer.in_proj.weight, self.sizes.block_rows
        act_base = router.act_base + (HALF if op.act.via else 0)
        of_all = cache(lambda: self._moments(inputs, op, act_base))
        base = base_of(weight, op.weight_qmax, self.lowering.work.rounding, inputs.gain)

        def block(n: int) -> tuple[QuantizedLinear, float]:
            own = tokens[n]
            part = weight[n * each : (n + 1) * each]
            mine = replace(
                inputs, x=Picked(self.before, own.vectors), weight=own.weights,
                rms=(inputs.rms[0][own.vectors], inputs.rms[1][own.vectors]),
                wanted=lambda rows: pad_columns(self._normed(own.vectors[rows]), self.channels),
            )  # fmt: skip
            target = FloatProjection(pad_columns(part, self.channels).clone())
            fixed = Fixed(act_base, base, None if len(own.vectors) else of_all())
            return self.lowering.quantized(op, target, mine, fixed)

        return self._together("in_proj", block, tokens)

    def _normed(self, vectors: NDArray[np.int64]) -> Tensor:
        """Inputs of the float layer's projections, of some tokens."""
        first, last = int(vectors[0]), int(vectors[-1])
        u = self.floats.read(slice(first, last + 1))[torch.from_numpy(vectors - first)]
        normed: Tensor = rms_norm(u, self.layer.norm, self.lowering.config.eps)
        return normed

    def _moments(self, inputs: Inputs, op: Projection, act_base: int) -> Tensor:
        """Second moments of all inputs, as the projection sees them."""
        linear, like = replace(BLANK, act_base=act_base), self.layer.mixer.in_proj.weight
        found: Tensor = like.new_zeros(inputs.channels, inputs.channels)
        for rows in inputs.batches():
            seen = inputs.seen(op.act, linear, rows, like)
            each = seen.T.contiguous()
            found.add_(product(each, each))
        return found

    def _mixed(self, layer: QuantizedLayer, chosen: Choice, tokens: list[_Tokens]) -> Rows:
        """Inputs of out_proj of all pairs of a token and a block, block after block."""
        routed, lost = self.lowering.path.routed(self.index, layer), Counter[str]()
        pairs = sum(len(own.vectors) for own in tokens)
        mixed = self.lowering.rows("mixed", self._width, np.int32, pairs)
        at = 0
        for block, own in enumerate(tokens):
            for rows in own.batches():
                found = routed.mixed(chosen, block, own.vectors[rows], own.places[rows], lost)
                end = at + len(found["mixed"])
                mixed.write(slice(at, end), found["mixed"].astype(np.int32))
                at = end
        return mixed

    @property
    def _width(self) -> int:
        return self.formats.transform.padded(self.sizes.out_dim)

    def _out_proj(self, mixed: Rows, tokens: list[_Tokens]) -> QuantizedLinear:
        op = self.sizes.projection(self.formats, self.index, "out_proj")
        weight, d = self.layer.mixer.out_proj.weight, self.d_model
        starts = np.cumsum([0, *(len(own.vectors) for own in tokens)])
        whole = self._inputs(mixed, np.arange(len(mixed)), lambda rows: torch.zeros(0))
        act_base = act_base_of(op.act, whole, BLANK)
        base = base_of(weight, op.weight_qmax, self.lowering.work.rounding, whole.gain)
        of_all = cache(lambda: self._moments(whole, op, act_base))
        last, rest = self.sizes.blocks - 1, self._rest()

        def block(n: int) -> tuple[QuantizedLinear, float]:
            own, vectors = tokens[n], np.arange(starts[n], starts[n + 1])

            def wanted(rows: slice) -> Tensor:
                if n == last:
                    return torch.from_numpy(rest.read(rows)).to(weight)
                hidden = self.layer.mixer.hidden(self._normed(own.vectors[rows]), n)
                factor = torch.from_numpy(own.weights[rows]).to(hidden)[:, None]
                found: Tensor = self.layer.mixer.block(hidden * factor, n)
                return found

            inputs = self._inputs(mixed, vectors, wanted)
            target = FloatProjection(pad_columns(weight[n * d : (n + 1) * d], self._width).clone())
            moments = None if len(vectors) else of_all()
            fixed = Fixed(act_base, base, moments, self.sizes.taken)
            found, error = self.lowering.quantized(op, target, inputs, fixed)
            if n != last:
                self._take_off(rest, inputs, op, found, own)
            return found, error

        linears = self._together("out_proj", block, tokens)
        self.lowering.store.drop(rest)
        return linears

    def _rest(self) -> Rows:
        """Float stream after the layer less the integer one before it, (tokens, d_model)."""
        rest = self.lowering.rows("rest", self.d_model, np.float32, len(self.before))
        unit = 2.0**self.lowering.model.residual_exp
        for at in range(0, len(rest), BATCH):
            rows = slice(at, at + BATCH)
            u = self.after.read(rows)
            left = u - torch.from_numpy(self.before.read(rows)).to(u) * unit
            rest.write(rows, left.cpu().numpy())
        return rest

    def _take_off(
        self, rest: Rows, inputs: Inputs, op: Projection, linear: QuantizedLinear, own: _Tokens
    ) -> None:
        """Subtract the outputs of a block, as they are after quantization."""
        like = self.layer.mixer.out_proj.weight
        packed = PackedWeights(linear.q, linear.code, linear.base)
        weight = packed.rows(slice(None), like) / inputs.gain
        for rows in own.batches():
            got = product(inputs.seen(op.act, linear, rows, like), weight)
            vectors = own.vectors[rows]
            first, last = int(vectors[0]), int(vectors[-1]) + 1
            part = rest.read(slice(first, last))
            part[vectors - first] -= got.cpu().numpy()
            rest.write(slice(first, last), part)

    def _inputs(
        self, mixed: Rows, vectors: NDArray[np.int64], wanted: Callable[[slice], Tensor]
    ) -> Inputs:
        """Inputs of out_proj of some pairs, which have no norm in front of them."""
        size = self.formats.transform.size(self.sizes.out_dim)
        return Inputs(
            x=Picked(mixed, vectors), groups=1, channels=self._width, rms=unit_rms(len(vectors)),
            exponent=self.mixer.out_exponent, square_exponent=self.mixer.norm_exponent,
            gain=math.sqrt(1 / size), quantize=self.lowering.path.ops.quantize, wanted=wanted,
            outputs=True,
        )  # fmt: skip

    def _together(
        self, which: str, block: Callable[[int], tuple[QuantizedLinear, float]],
        tokens: list[_Tokens],
    ) -> QuantizedLinear:  # fmt: skip
        """All blocks of a matrix, one below the other."""
        made = []
        for n in range(self.sizes.blocks):
            made.append(block(n))
            self.done += 1
            self.progress(self.done / (2 * self.sizes.blocks))
        linears = [linear for linear, _ in made]
        error = sum(len(own.vectors) * error for own, (_, error) in zip(tokens, made, strict=True))
        pairs = sum(len(own.vectors) for own in tokens)
        self.lowering.errors[f"layers.{self.index}.{which}"] = error / pairs
        return replace(
            linears[0], words=np.concatenate([each.words for each in linears]),
            code=np.concatenate([each.code for each in linears]),
            acc_shift=max(each.acc_shift for each in linears),
        )  # fmt: skip
