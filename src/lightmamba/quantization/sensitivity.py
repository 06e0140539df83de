"""Cost of the formats of each projection, in KL divergence, by exact integers.

The model is quantized with 8-bit weights and activations, and each projection to a recipe's narrow
formats as well, on the same inputs. Then one projection at a time is exchanged, and the divergence
of the logits from those of the wide model is measured. So the noise of other projections does not
hide what this one costs.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightmamba.blocks.layer import out_channels
from lightmamba.engine import Engine
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.model_formats import PROJECTIONS, FormatException, Formats, Widths
from lightmamba.quantization.api import Progress
from lightmamba.quantization.integers import IntegerPath
from lightmamba.quantization.recipe import Recipe
from lightmamba.quantization.streams import Rows

__all__ = ["NARROW", "RANKED", "WIDE", "Cost", "costs", "excepted", "narrow", "widened"]

WIDE = 8  # bits that a projection is given
RANKED = 4  # sequences of the calibration that divergences are measured on
TOKENS = 256  # whose logits are compared together
NARROW = ("weights", "activations")


@dataclass(frozen=True)
class Cost:
    """Cost of the recipe's formats in one projection.

    Attributes
    ----------
    layer, projection
        Which one.
    weights : int
        Weights that it has, with their padding.
    kl : mapping of str to float
        By :data:`NARROW`: mean divergence in nats per token, where the weights, or the activations,
        have the recipe's bits and all else 8.
    """

    layer: int
    projection: str
    weights: int
    kl: Mapping[str, float]


def excepted(recipe: Recipe) -> set[tuple[int, str]]:
    """Layers and projections that the recipe has exceptions for."""
    return {(n, each.projection) for each in recipe.exceptions for n in each.layers}


def widened(recipe: Recipe, layers: int) -> Recipe:
    """The recipe with 8-bit weights and activations in every projection that has no exception."""
    own = excepted(recipe)
    free = {name: [n for n in range(layers) if (n, name) not in own] for name in PROJECTIONS}
    wide = (Widths(tuple(each), name, WIDE, WIDE) for name, each in free.items() if each)
    return replace(recipe, exceptions=(*recipe.exceptions, *wide))


def narrow(recipe: Recipe, wide: Recipe, names: Sequence[str]) -> dict[str, dict[str, Projection]]:
    """Arithmetic of each projection that ``wide`` widened: the recipe's for one of :data:`NARROW`.

    The key is the projection's name, such as ``layers.3.in_proj``.
    """
    own = excepted(recipe)
    return {
        f"layers.{each.layer}.{each.projection}": {
            name: _projection(recipe.formats, each, name) for name in names
        }
        for each in wide.formats.exceptions
        if (each.layer, each.projection) not in own
    }


def _projection(formats: Formats, wide: FormatException, name: str) -> Projection:
    """Arithmetic with the model's bits in one place, and 8 in the other."""
    bits = {"weights": "weight_bits", "activations": "act_bits"}[name]
    mine = replace(wide, **{bits: getattr(formats, bits)})
    return replace(formats, exceptions=(mine,)).of(wide.layer, wide.projection)


def costs(
    model: QuantizedModel,
    others: Callable[[str], QuantizedLinear],
    wanted: Mapping[str, Mapping[str, Projection]],
    ids: NDArray[np.int64],
    *,
    threads: int = 1,
    known: Mapping[str, Mapping[str, float]] | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[str, Cost]]:
    """Measure each projection, layer by layer; one that is not ``wanted`` has no divergence.

    Parameters
    ----------
    model
        With wide projections.
    others
        A narrow projection by name, such as ``layers.3.in_proj.weights``.
    wanted
        What :func:`narrow` gives.
    ids
        (sequences, seqlen) that are read.
    threads
        Of the engine.
    known
        Divergences that were measured before, by the projection's name.
    progress
        Called with (done, total).
    """
    measure = _Measure(model, ids, threads)
    total = sum(map(len, wanted.values()))
    done, known = 0, known or {}
    for index, layer in enumerate(model.layers):
        for projection in PROJECTIONS:
            name = f"layers.{index}.{projection}"
            found = dict(known.get(name, {}))
            for what, op in wanted.get(name, {}).items():
                if what not in found:
                    other = others(f"{name}.{what}")
                    found[what] = measure.exchanged(index, layer, projection, other, op)
                done += 1
                if progress is not None:
                    progress(done, total)
            linear: QuantizedLinear = getattr(layer, projection)
            yield name, Cost(index, projection, int(np.prod(linear.shape)), found)
        measure.go_on(index, layer)


class _Measure:
    """The residual stream in front of one layer, and the logits of the wide model."""

    def __init__(self, model: QuantizedModel, ids: NDArray[np.int64], threads: int) -> None:
        self.model, self.count = model, ids.size
        self.path = IntegerPath(replace(model, layers=()), ids.shape[1], threads)
        self.head = Engine(replace(model, config=model.config.first(1), layers=()), threads=threads)
        self.u = self._rows(model.config.d_model)
        self.path.embed(ids, self.u)
        self.last = self._through(0, self.u)

    def _rows(self, channels: int) -> Rows:
        return Rows(self.count, channels, np.int32)

    def _through(self, first: int, u: Rows) -> Rows:
        """Stream behind the last layer, of that in front of layer ``first``."""
        for index in range(first, len(self.model.layers)):
            u = self._layer(index, self.model.layers[index], u)
        return u

    def _layer(
        self, index: int, layer: QuantizedLayer, u: Rows, formats: Formats | None = None
    ) -> Rows:
        path = self.path if formats is None else self.path.of(formats)
        mixed, after = self._rows(self._channels(layer)), self._rows(self.model.config.d_model)
        rms = path.mix(index, layer, u, mixed)
        path.finish(index, layer, mixed, rms, u, after)
        return after

    def _channels(self, layer: QuantizedLayer) -> int:
        return out_channels(layer.mixer.sizes, self.model.formats)

    def go_on(self, index: int, layer: QuantizedLayer) -> None:
        """Move to the next layer."""
        self.u = self._layer(index, layer, self.u)

    def exchanged(
        self, index: int, layer: QuantizedLayer, projection: str, other: QuantizedLinear,
        op: Projection,
    ) -> float:  # fmt: skip
        """Divergence if one projection of a layer is another."""
        mine = FormatException(index, projection, op.bits, op.act.bits)
        rest = tuple(
            each
            for each in self.model.formats.exceptions
            if (each.layer, each.projection) != (index, projection)
        )
        formats = replace(self.model.formats, exceptions=(*rest, mine))
        changed = self._layer(index, layer.with_linears(**{projection: other}), self.u, formats)
        return self._divergence(self._through(index + 1, changed))

    def _divergence(self, stream: Rows) -> float:
        """Mean KL divergence from the wide model's distributions, in nats."""
        total = 0.0
        for at in range(0, self.count, TOKENS):
            rows = slice(at, min(at + TOKENS, self.count))
            p, q = (self._log_probabilities(each, rows) for each in (self.last, stream))
            total += float((p.exp() * (p - q)).sum())
        return total / self.count

    def _log_probabilities(self, stream: Rows, rows: slice) -> torch.Tensor:
        u: NDArray[Any] = stream.read(rows).astype(np.int64)
        logits = self.head.head(u[None], Counter())[0, :, : self.model.valid_vocab]
        real = torch.from_numpy(logits.astype(np.float64) * 2.0**self.model.logit_exp)
        return real.log_softmax(dim=-1)
