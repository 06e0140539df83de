"""Steps of the units of experts where they do not follow from the graph, for the estimate."""

from collections.abc import Mapping
from typing import Any

from lightmamba.arch.steps import Table, joined
from lightmamba.blocks.experts.arithmetic import Sizes

__all__ = ["LISTED", "STEPS"]

LISTED = 16  # cycles from the last row to the first chosen block
SHARES = 42  # from that to its weight


def _choose(work: Any, layer: Sizes, sizes: Mapping[str, int]) -> Table:
    """Weights that every token has; rows; then chosen blocks may come; then their weights."""
    return joined(
        Table(layer.n_shared, {}, {"weight": 1}),
        Table(layer.n_experts, {"router": 1}, {}),
        Table(1, {}, {}, LISTED),
        Table(1, {}, {"leave.lane": 1}, SHARES),
        Table(layer.top_k, {}, {"weight": 1}),
    )


def _weigh(work: Any, layer: Sizes, sizes: Mapping[str, int]) -> Table:
    """The weight of a block, then its channels."""
    channels = Table(layer.d_hidden, {"hidden": 1}, {"weighted": 1})
    return joined(Table(1, {"weight": 1}, {}), channels)


STEPS = {"choose": _choose, "weigh": _weigh}
