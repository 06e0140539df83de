"""Steps of an average's unit where they do not follow from the graph, for the estimate."""

from collections.abc import Callable, Mapping
from typing import Any

from lightmamba.arch.steps import Table, joined

from .sizes import Sizes

__all__ = ["STEPS", "cycles"]


def average(work: Any, layer: Sizes, sizes: Mapping[str, int]) -> Table:
    """Once commanded, the words of all earlier tokens; then the channels; then its own words."""
    words = layer.channels // 4
    return joined(
        Table(1, {"average.command": 1}, {}),
        Table(words * max(1, work.positions), {"values_read": 1}, {}),
        Table(layer.channels, {"v": 1}, {"averaged": 1}),
        Table(words * max(slot.tokens for slot in work.slots), {}, {"values_written": 1}),
    )


def cycles(work: Any, layer: Sizes, sizes: Mapping[str, int]) -> dict[str, int]:
    """Cycles in which units have something to do that takes other than a step each."""
    return {"average": average(work, layer, sizes).steps}


STEPS: dict[str, Callable[[Any, Any, Mapping[str, int]], Table]] = {"average": average}
