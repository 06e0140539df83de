"""A layer whose router chooses blocks of its matrices, on arrays.

Blocks are computed one after the other, each for the vectors that take it; nothing is computed or
counted of the others. The sums of all blocks of a vector are added exactly before the one epilogue.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lightmamba.blocks.layer import unit_rms
from lightmamba.engine.native import Native
from lightmamba.engine.reference import Reference
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.model.qmodel.model import RMS_SHIFT
from lightmamba.numerics.blocks import halved
from lightmamba.numerics.formats import INT16, INT32
from lightmamba.numerics.linear import Epilogue
from lightmamba.numerics.primitives import Ints

__all__ = ["Choice", "Routed"]

EPILOGUE = Epilogue()
Values = dict[str, NDArray[Any]]
NAMES = {  # of observables of blocks
    "rows": "in_proj.rows", "hidden": "experts.hidden", "weighted": "experts.weighted",
    "mixed": "hadamard.out", "q": "out_proj.q", "code": "out_proj.code",
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """Blocks of some vectors, and the input that they share with the router.

    Attributes
    ----------
    q, code
        The input, of 8 bits.
    rms : (mantissa, j)
        Each (vectors, 1).
    scores : (vectors, n_experts)
    blocks, weights : (vectors, taken)
    """

    q: NDArray[np.int8]
    code: NDArray[np.uint8]
    rms: tuple[Ints, Ints]
    scores: Ints
    blocks: Ints
    weights: Ints

    @staticmethod
    def together(parts: Sequence["Choice"]) -> "Choice":
        """Choices of some vectors after the other."""
        values = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("q", "code", "scores", "blocks", "weights")
        }
        mantissa, j = (np.concatenate([part.rms[n] for part in parts]) for n in range(2))
        return Choice(rms=(mantissa, j), **values)

    def of(self, block: int) -> tuple[Ints, Ints]:
        """Vectors that take a block, and the places at which they list it."""
        vectors, places = np.nonzero(self.blocks == block)
        return vectors, places


class Routed:
    """A layer of :attr:`~lightmamba.blocks.layer.Sizes.routed` sizes.

    Parameters
    ----------
    ops : Reference or Native
        The engine's operations.
    model : QuantizedModel
    index : int
        Of the layer.

    Attributes
    ----------
    follow : callable or None
        Chooses the experts instead: of (vectors, n_experts) scores, the experts that the router
        chose (vectors, top_k) and their weights.
    """

    def __init__(self, ops: Reference | Native, model: QuantizedModel, index: int) -> None:
        self.ops, self.model, self.index = ops, model, index
        self.layer: QuantizedLayer = model.layers[index]
        self.sizes = self.layer.mixer.sizes
        f = model.formats
        self._in, self._out = (
            self.sizes.projection(f, index, name) for name in ("in_proj", "out_proj")
        )
        self._in_shift = model.in_shift(self.layer)
        self.follow: Callable[[Any, Any, Any], Any] | None = None
        self._parts: dict[tuple[str, int], QuantizedLinear] = {}
        self.arithmetic = cast(Any, ops.arithmetic(self.layer))

    def choose(self, u: Ints, lost: Counter[str]) -> Choice:
        """Choice of the blocks of (vectors, d_model)."""
        op, router = self.model.formats.router, self.layer.linears["router"]
        rms = self.ops.rms(u, RMS_SHIFT, 1, self.model.eps)
        q, code, clipped, clamped = self.ops.quantize(op.act, u, router.shape[1], router.act_base)
        shift = self.model.router_shift(self.layer)
        rows, over = self.ops.linear(op, router, q, code, rms, shift, INT16)
        scores, blocks, weights, lost_scores = self.arithmetic.route(rows, self.follow)
        lost.update({
            "clipped": clipped, "in_proj.scale": clamped, "in_proj": over, "router": lost_scores,
        })  # fmt: skip
        return Choice(q, code, rms, scores, blocks, weights)

    def mixed(
        self, chosen: Choice, block: int, vectors: Ints, places: Ints, lost: Counter[str]
    ) -> Values:
        """Rows of in_proj of a block, and all up to the input of out_proj, for some vectors."""
        op, each = self._in, self.sizes.block_rows
        linear = self._part("in_proj", block, each)
        shift = self._in_shift[block * each : (block + 1) * each]
        q = halved(chosen.q[vectors]) if op.act.via else chosen.q[vectors]
        mantissa, j = (part[vectors] for part in chosen.rms)
        rows, over = self.ops.linear(
            op, linear, q, chosen.code[vectors], (mantissa, j), shift, INT16
        )
        lost["in_proj"] += over
        weights = chosen.weights[vectors, places]
        return {"rows": rows, **self.arithmetic.block(rows, weights, lost)}

    def sums(self, block: int, mixed: Ints, lost: Counter[str]) -> tuple[Ints, Values]:
        """Exact sums (vectors, d_model) of a block's part of out_proj."""
        op = self._out
        part = self._part("out_proj", block, self.model.config.d_model)
        q, code, clipped, clamped = self.ops.quantize(op.act, mixed, part.shape[1], part.act_base)
        lost.update({"clipped": clipped, "out_proj.scale": clamped})
        return self.ops.sums(op, part, q, code), {"q": q, "code": code}

    def _part(self, name: str, block: int, rows: int) -> QuantizedLinear:
        """Rows of a block, the same object every time: kernels repack it once."""
        key = name, block
        if key not in self._parts:
            at = slice(block * rows, (block + 1) * rows)
            self._parts[key] = self.layer.linears[name].part(at)
        return self._parts[key]

    def finish(self, total: Ints, lost: Counter[str]) -> Ints:
        """Rows of out_proj, (vectors, d_model), of the sums of all blocks."""
        mantissa, j = unit_rms(len(total))
        shift = j + self.model.out_shift(self.layer)
        rows, over = EPILOGUE(total, self.layer.out_proj.acc_shift, mantissa, shift, INT32)
        lost["out_proj"] += over
        return rows

    def __call__(self, u: Ints, lost: Counter[str], *, observed: bool) -> tuple[Ints, Values]:
        """Rows of out_proj of (vectors, d_model), and every observable if they are ``observed``.

        Those of blocks are (vectors, taken, ...), in the order of ``router.blocks``.
        """
        chosen = self.choose(u, lost)
        seen: Values = {
            "in_proj.rms": chosen.rms[0], "in_proj.rms_shift": chosen.rms[1],
            "in_proj.q": chosen.q, "in_proj.code": chosen.code, "router.scores": chosen.scores,
            "router.blocks": chosen.blocks, "router.weights": chosen.weights,
        }  # fmt: skip
        total = np.zeros((len(u), self.model.config.d_model), np.int64)
        for block, vectors, places in self._each(chosen):
            found = self.mixed(chosen, block, vectors, places, lost)
            sums, last = self.sums(block, found["mixed"], lost)
            total[vectors] += sums
            for name, value in ({**found, **last} if observed else {}).items():
                lead = *chosen.blocks.shape, value.shape[1]
                own = seen.setdefault(NAMES[name], np.zeros(lead, value.dtype))
                own[vectors, places] = value
        rows = self.finish(total, lost)
        return rows, seen | {"out_proj.rows": rows}

    def _each(self, chosen: Choice) -> Iterator[tuple[int, Ints, Ints]]:
        """Blocks that a vector takes, with the vectors and the places at which they list it."""
        for block in np.unique(chosen.blocks):
            yield int(block), *chosen.of(int(block))
