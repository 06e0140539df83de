"""Outliers of a float checkpoint, for the page; needs torch."""

from lightmamba.model.checkpoint import Checkpoint
from lightmamba.quantization.outliers import ChannelRanges, ranges_of
from lightmamba.study.plots.ranges import Panel
from lightmamba.study.report.contents import Outliers

__all__ = ["measure_outliers"]


def measure_outliers(checkpoint: Checkpoint, name: str, seed: int = 0) -> Outliers:
    """Ranges of the projections' inputs before and after the rotations.

    Parameters
    ----------
    checkpoint
        Left as it is.
    name
        For people.
    seed
        Of the rotation, and of sampled calibration.

    Returns
    -------
    Outliers
        Of the layer with the worst peak at the input of out_proj.
    """
    before, after = ranges_of(checkpoint, seed)
    layer = max(range(len(before)), key=lambda i: before[i]["out_proj"].peak)
    projections = ("in_proj", "out_proj")
    return Outliers(
        name,
        layer,
        {x: (_panel(before[layer][x]), _panel(after[layer][x])) for x in projections},
        {x: (max(r[x].peak for r in before), max(r[x].peak for r in after)) for x in projections},
    )


def _panel(found: ChannelRanges) -> Panel:
    return Panel.of(found.activation_max, found.activation_median)
