"""Outliers of a float checkpoint, for the page and for pictures; needs torch."""

from lightmamba.model.checkpoint import Checkpoint
from lightmamba.quantization.outliers import ChannelRanges, ranges_of
from lightmamba.study.plots.ranges import Panel
from lightmamba.study.report.contents import Outliers

__all__ = ["measure_outliers"]


def measure_outliers(
    checkpoint: Checkpoint, name: str, *, seed: int = 0, layer: int | None = None
) -> Outliers:
    """Ranges of the projections' inputs and weights before and after the rotations.

    Parameters
    ----------
    checkpoint
        Left as it is.
    name
        For people.
    seed
        Of the rotation, and of sampled calibration.
    layer
        By default the one with the worst peak at the input of out_proj.
    """
    before, after = ranges_of(checkpoint, seed)
    if layer is None:
        layer = max(range(len(before)), key=lambda i: before[i]["out_proj"].peak)
    first, last, projections = before[layer], after[layer], ("in_proj", "out_proj")
    return Outliers(
        name,
        layer,
        {x: (_inputs(first[x]), _inputs(last[x])) for x in projections},
        {x: (max(r[x].peak for r in before), max(r[x].peak for r in after)) for x in projections},
        {x: (Panel.of(first[x].weight_max), Panel.of(last[x].weight_max)) for x in projections},
    )


def _inputs(found: ChannelRanges) -> Panel:
    return Panel.of(found.activation_max, found.activation_median)
