"""Payload of channels quantized in blocks: Mamba2's x, B and C, attention's q, k and v."""

from lightmamba.arch.fields import KIND, Field

__all__ = ["BLOCKED"]

BLOCKED = (
    Field("kind", KIND, "of in_proj's rows"),
    Field("q", 8, "its value", signed=True),
    Field("exp", 4, "exponent of its block"),
)
