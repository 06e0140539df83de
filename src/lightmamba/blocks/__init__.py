"""Layer kinds, one folder each. A folder holds all that is special to its kind.

A model is a sequence of layers: norm, mixer, residual addition. Every mixer begins with one
projection of the normed residual stream, ``in_proj``, and ends with one back to it, ``out_proj``.
What lies between is the kind's own, and in these modules of its folder:

=============== ================================================================================
``sizes``       ``Sizes``: the validated sizes of one layer, and the rows of its ``in_proj``
``quantized``   ``Mixer``: its integers and exponents, each tensor declared once
``arithmetic``  ``Arithmetic``: what it does in integers, by ``numerics``; its state
``state``       what a sequence leaves behind, and what is recorded of an undecided token
``compiled``    ``Compiled``: the same by the kernels
``synthetic``   ``random_mixer``: integers of healthy ranges, without a checkpoint
``floating``    ``Mixer``: the float module (torch)
``lowering``    from the float module and its calibrated ranges to the integers (torch)
``hardware``    its units in the accelerator; a kind without it is refused by ``compile``
``commands``    what they are to do in one layer
``layout``      how its memory holds parameters and states
``steps``       steps of its units where they do not follow from the graph, for the estimate
``cells``       cells of its units, for the estimate
``observed``    what its probes show
=============== ================================================================================

A new kind is a new folder: :func:`kinds` finds it.
"""

from functools import cache
from importlib import import_module, util
from pkgutil import iter_modules
from typing import Any

__all__ = ["kinds", "part"]


@cache
def kinds() -> tuple[str, ...]:
    """Names of all kinds, in alphabetical order."""
    return tuple(sorted(found.name for found in iter_modules(__path__) if found.ispkg))


@cache
def part(kind: str, module: str) -> Any:
    """One module of a kind, imported when it is asked for; None, where the kind has none.

    Raises
    ------
    ValueError
        If there is no such kind.
    """
    if kind not in kinds():
        raise ValueError(f"no layer kind {kind!r}; there are {', '.join(kinds())}")
    name = f"{__name__}.{kind}.{module}"
    return import_module(name) if util.find_spec(name) else None
