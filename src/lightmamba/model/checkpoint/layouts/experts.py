"""Where a mixture of experts is, in layouts that differ in names only.

Experts are in two tensors of three dimensions, or each has tensors of its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightmamba.model.checkpoint.published import Origin, Part

__all__ = ["ExpertNames", "expert_origin"]

Names = tuple[str, ...]


@dataclass(frozen=True)
class ExpertNames:
    """Names of the tensors of a layer, each with those that occur instead.

    ``each_in`` and ``each_out`` have a place for the number of an expert; "" if there are none.
    """

    router: Names
    bias: Names
    experts_in: Names
    experts_out: Names
    shared_in: Names
    shared_out: Names
    each_in: Names = ()
    each_out: Names = ()


def expert_origin(
    own: str, sizes: Any, d_model: int, names: ExpertNames, *, factor: float = 1.0,
    routed: float = 1.0,
) -> Origin:  # fmt: skip
    """Where a parameter of the mixer is.

    Parameters
    ----------
    own
        router.weight, in_proj.weight, out_proj.weight or choice_bias.
    sizes, d_model
        Of the layer.
    names
        Of its tensors.
    factor, routed
        Of what the layer adds to the stream, and of what its experts add to it.
    """
    e, f, s, rows = sizes.n_experts, sizes.d_hidden, sizes.n_shared, sizes.block_rows
    if own == "choice_bias":
        return Origin((Part(names.bias, shape=(e,)),))
    if own == "router.weight":
        base = math.log2(math.e) if sizes.scoring == "softmax" else 1.0
        return Origin((Part(names.router, base),))
    if own == "in_proj.weight":
        every = Part(names.experts_in, shape=(e, rows, d_model), view=_stacked)
        shape, view = (rows * s, d_model), _interleaved(rows // f, s)
        return _blocks(every, Part(names.shared_in, shape=shape, view=view), names.each_in, e)
    every = Part(names.experts_out, factor * routed, shape=(e, d_model, f), view=_stacked)
    shared = Part(names.shared_out, factor, shape=(d_model, s * f), view=_columns(s))
    return _blocks(every, shared, names.each_out, e)


def _blocks(every: Part, shared: Part, each: Names, count: int) -> Origin:
    """All experts, from one tensor or one each, and the blocks that every token takes."""
    shape = (every.shape or ())[1:]
    single = [
        Part(tuple(name.format(n) for name in each), every.factor, shape=shape)
        for n in range(count if each else 0)
    ]
    return Origin((every, shared), Origin((*single, shared)) if single else None)


def _stacked(stored: Any) -> Any:
    """(experts, rows, columns) as one matrix."""
    return stored.flatten(0, 1)


def _interleaved(halves: int, blocks: int) -> Callable[[Any], Any]:
    """From a of all blocks and then b of all to a and b of each block."""
    return lambda stored: stored.unflatten(0, (halves, blocks, -1)).transpose(0, 1).flatten(0, 2)


def _columns(blocks: int) -> Callable[[Any], Any]:
    """Runs of columns, one below the other."""
    return lambda stored: stored.unflatten(1, (blocks, -1)).movedim(1, 0).flatten(0, 1)
