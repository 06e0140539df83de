"""Layer kinds, one folder each. A folder holds all that is special to its kind.

A model is a sequence of layers: norm, mixer, residual addition. Every mixer begins with one
projection of the normed residual stream, ``in_proj``, and ends with one back to it, ``out_proj``.
What lies between is the kind's own: :mod:`lightmamba.blocks.base` says what a folder has. A new
kind is a new folder: :func:`kinds` finds it.
"""

from functools import cache
from pkgutil import iter_modules

from lightmamba.blocks.base import Kind

__all__ = ["kind", "kinds"]


@cache
def kinds() -> tuple[str, ...]:
    """Names of all kinds, in alphabetical order."""
    return tuple(sorted(found.name for found in iter_modules(__path__) if found.ispkg))


@cache
def kind(name: str) -> Kind:
    """A kind by its name.

    Raises
    ------
    ValueError
        If there is no such kind.
    """
    if name not in kinds():
        raise ValueError(f"no layer kind {name!r}; there are {', '.join(kinds())}")
    return Kind(f"{__name__}.{name}")
