"""Pictures for people, with matplotlib (the extra ``plot``)."""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

from lightmamba.errors import InputError

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend must be chosen first

if TYPE_CHECKING:
    from lightmamba.quantize.ranges import ChannelRanges

__all__ = ["plot_ranges"]

INK, SOFT = "#1f4e79", "#9dc3e6"


def plot_ranges(
    path: Path, before: dict[str, "ChannelRanges"], after: dict[str, "ChannelRanges"], title: str
) -> None:
    """Draw activation and weight ranges by channel, before and after rotation, to a PNG.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    names = ("in_proj", "out_proj")
    figure, axes = plt.subplots(4, 2, figsize=(11, 11), sharey="row", layout="constrained")
    for column, (when, found) in enumerate({"before": before, "after rotation": after}.items()):
        for block, name in enumerate(names):
            ranges = found[name]
            channels = range(len(ranges.activation_max))
            top, bottom = axes[2 * block, column], axes[2 * block + 1, column]
            top.bar(channels, ranges.activation_max, width=1.0, color=SOFT, label="largest")
            top.bar(channels, ranges.activation_median, width=1.0, color=INK, label="median")
            top.set_title(f"{name} input, {when}: peak {ranges.peak:.1f} x rms", fontsize=10)
            bottom.bar(channels, ranges.weight_max, width=1.0, color=SOFT)
            bottom.set_title(f"{name} weight, {when}", fontsize=10)
            for axis in (top, bottom):
                axis.set_xlim(0, len(channels))
                axis.spines[["top", "right"]].set_visible(False)
                axis.set_ylabel("magnitude" if column == 0 else "")
            bottom.set_xlabel("input channel")
    axes[0, 0].legend(frameon=False, fontsize=9)
    figure.suptitle(title)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot draw to {path}: {error}; try ranges.png") from error
    finally:
        plt.close(figure)
