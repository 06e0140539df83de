"""Pictures for people, with matplotlib (the extra ``plot``)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from lightmamba.errors import InputError

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend must be chosen first
from matplotlib.ticker import FuncFormatter, NullFormatter

if TYPE_CHECKING:
    from lightmamba.quantize.ranges import ChannelRanges

__all__ = ["plot_ranges"]

INK, BAND, RULE = "#1f4e79", "#9dc3e6", "#c00000"
FLOOR = {"input": 0.01, "weight": 0.1}  # of the axes: what lies below is as good as nothing
NOTE = (
    "Magnitudes per input channel over the rms of the channels' maxima, log scale: the flatter, "
    "the fewer quantization steps go to\na few outliers. The off-line rotation carries the norm "
    "weight from in_proj's input into its weight."
)


def plot_ranges(
    path: Path, before: dict[str, "ChannelRanges"], after: dict[str, "ChannelRanges"], title: str
) -> None:
    """Draw activation and weight ranges by channel, before and after rotation, to a PNG.

    Parameters
    ----------
    path
        File to write; its suffix chooses the format.
    before, after
        Ranges of "in_proj" and "out_proj" of one layer.
    title
        Stands above.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    figure, axes = plt.subplots(4, 2, figsize=(11, 10), sharey="row", layout="constrained")
    for column, (when, found) in enumerate({"before": before, "after": after}.items()):
        axes[0, column].set_title(f"{when} rotation", fontsize=12, loc="left", weight="bold")
        for block, name in enumerate(("in_proj", "out_proj")):
            ranges = found[name]
            top, bottom = axes[2 * block, column], axes[2 * block + 1, column]
            _panel(top, ranges.activation_max, ranges.activation_median, FLOOR["input"])
            nothing = np.zeros_like(ranges.weight_max)
            _panel(bottom, ranges.weight_max, nothing, FLOOR["weight"])
            top.tick_params(labelbottom=False)
            bottom.set_xlabel("input channel")
            if column == 0:
                top.set_ylabel(f"{name}\ninput")
                bottom.set_ylabel(f"{name}\nweight")
    axes[0, 1].legend(frameon=False, fontsize=9, ncols=3, loc="lower right", borderaxespad=0)
    figure.suptitle(title, fontsize=13, x=0.01, ha="left", weight="bold")
    figure.supxlabel(NOTE, fontsize=9, x=0.01, ha="left")
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise InputError(f"cannot draw to {path}: {error.strerror}; give another place") from error
    except ValueError as error:  # of a suffix that matplotlib does not know
        raise InputError(f"cannot draw to {path}: {error}; try ranges.png") from error
    finally:
        plt.close(figure)


def _panel(axis: Any, largest: NDArray[np.float64], low: NDArray[np.float64], floor: float) -> None:
    """One projection's input or weight: a band by channel from ``low`` to ``largest``."""
    unit = float(np.sqrt((largest**2).mean())) or 1.0
    channels, peak = np.arange(len(largest)), float(largest.max()) / unit
    bottom, top = (np.maximum(x / unit, floor) for x in (low, largest))
    axis.set_yscale("log")
    axis.fill_between(
        channels, bottom, top, step="mid", color=BAND, linewidth=0, label="from median to largest"
    )
    axis.step(channels, top, where="mid", color=INK, linewidth=0.7, label="largest")
    axis.axhline(peak, color=RULE, linewidth=0.8, linestyle=(0, (4, 3)), label="peak")
    axis.annotate(
        f"{peak:.1f} x rms", (1, peak), xycoords=("axes fraction", "data"), xytext=(-2, 2),
        textcoords="offset points", ha="right", va="bottom", fontsize=9, color=RULE,
    )  # fmt: skip
    axis.set_ylim(floor, max(axis.get_ylim()[1], 4, 2.5 * peak))
    axis.set_xlim(0, len(channels) - 1)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.spines[["top", "right"]].set_visible(False)
