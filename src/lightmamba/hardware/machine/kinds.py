"""The machine of some kinds of layers: the spine and their hardware."""

from dataclasses import replace
from functools import cache

from lightmamba.arch.fields import Field
from lightmamba.arch.graph import Graph
from lightmamba.arch.merge import merge
from lightmamba.blocks import kind
from lightmamba.blocks import kinds as known
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.spine import BACK, FRONT, ROWS

__all__ = ["machine"]

# Fields of commands where projections differ in their widths.
WIDE = {
    "lanes": Field("split", 1, "each word of weights is two beats, of upper and of lower halves"),
    "quant_in": Field("projection", 1, "what it quantizes is for a projection, whatever its bits"),
}


@cache
def machine(kinds: tuple[str, ...], *, wide: bool = False) -> Graph:
    """The machine of some kinds of layers; ``wide``, if projections differ in their widths.

    Raises
    ------
    InputError
        If one of them has no hardware, or two do not fit together; the sentence names both.
    """
    if missing := [name for name in kinds if not kind(name).has_hardware]:
        there = ", ".join(name for name in known() if kind(name).has_hardware)
        raise InputError(
            f"the accelerator does not support {' and '.join(sorted(missing))} layers, only "
            f"{there}; run the model on the engine: lightmamba generate FILE --prompt TEXT"
        )
    graphs = {name: kind(name).hardware.graph for name in kinds}
    for name, graph in graphs.items():
        if (count := len(graph.rows)) > ROWS:
            raise InputError(
                f"layers of kind {name} have {count} kinds of rows of in_proj, but an epilogue has "
                f"shifts for {ROWS}"
            )
    try:
        made = merge(FRONT, graphs, BACK)
    except ValueError as error:
        raise InputError(
            f"no machine has {' and '.join(kinds)} layers: {error}; a model that has all of them "
            f"runs on the engine: lightmamba generate FILE --prompt TEXT"
        ) from error
    more = {unit: (*made.commands[unit], field) for unit, field in WIDE.items()}
    return replace(made, commands={**made.commands, **more}) if wide else made
