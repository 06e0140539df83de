"""Observables of attention from the accelerator's probes, by the engine's names."""

from collections.abc import Mapping

from lightmamba.arch.records import Found, Taken, blocked, carried
from lightmamba.blocks.attention.sizes import Sizes
from lightmamba.blocks.attention.state import numerics
from lightmamba.blocks.protocols import out_channels
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["layer"]


def layer(
    at: str, sizes: Sizes, formats: Formats, take: Taken, rows: Ints, kinds: Mapping[str, int]
) -> Found:
    """Yield name, values and cycles of all between in_proj and out_proj, in the engine's order."""
    quantized = take("qkv", sizes.in_rows)
    for name in ("k", "v"):
        mine = quantized.take(sizes.sections()[name]).reshape(sizes.n_kv_heads, sizes.head_dim)
        yield from blocked(f"{at}.attention.{name}", mine, numerics(sizes).block)
    yield from carried(at, take("mean", sizes.out_dim))
    yield from carried(at, take("hadamard", out_channels(sizes, formats)))
