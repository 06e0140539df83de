"""Observables of an average from the accelerator's probes, by the engine's names."""

from collections.abc import Mapping

from lightmamba.arch.records import Found, Taken, carried
from lightmamba.blocks.protocols import out_channels
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

from .sizes import Sizes

__all__ = ["layer"]


def layer(
    at: str, sizes: Sizes, formats: Formats, take: Taken, rows: Ints, kinds: Mapping[str, int]
) -> Found:
    """Yield name, values and cycles of all between in_proj and out_proj, in the engine's order."""
    yield from carried(at, take("average", sizes.channels))
    yield from carried(at, take("hadamard", out_channels(sizes, formats)))
