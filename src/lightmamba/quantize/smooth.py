"""Channel scaling and shifting, the methods that rotation is compared with.

SmoothQuant (Xiao et al., arXiv 2211.10438) and Outlier Suppression+ (Wei et al., arXiv 2304.09145)
on the inputs of in_proj and out_proj. Both keep the function: a scale goes from the norm's weight
into the projection's columns, a shift from the input into the projection's bias.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmamba.mamba2 import Mamba2Layer
from lightmamba.numerics.gate import OnlineHadamard
from lightmamba.qmodel.formats import Formats
from lightmamba.quantize.calibrate import trace_layer
from lightmamba.quantize.lower import numpy64
from lightmamba.quantize.transforms import GroupedHadamard, Shift, layers_of, set_parameter
from lightmamba.quantize.weights import quantize_weights
from lightmamba.quantize.work import Work, fake_quantize

__all__ = ["smooth", "suppress_outliers"]

Array = NDArray[np.float64]
LEAST = 1e-5  # of a scale, and of the magnitudes that it is made of
TOKENS = 512  # that judge a threshold


@dataclass(frozen=True)
class _Site:
    """A norm, a slot for a shift, and the projection behind them."""

    owner: nn.Module
    slot: str  # attribute of owner: before_in or before_out
    norm: Tensor
    linear: nn.Linear
    groups: int  # of the norm, each padded by itself

    def scale_down(self, scale: Array) -> None:
        """Divide the input by ``scale`` (channels,) and multiply the columns by it."""
        s = torch.from_numpy(scale)
        set_parameter(self.norm, self.norm.double() / s)
        set_parameter(self.linear.weight, self.linear.weight.double() * s)
        if isinstance(before := getattr(self.owner, self.slot), Shift):
            setattr(self.owner, self.slot, Shift((before.shift.double() / s).to(self.norm)))

    def shift_down(self, shift: Array) -> None:
        """Subtract ``shift`` (channels,) from the input and add its image to the bias."""
        moved, weight = torch.from_numpy(shift), self.linear.weight
        image = weight.double() @ moved
        if self.linear.bias is not None:
            image = image + self.linear.bias.double()
        if isinstance(before := getattr(self.owner, self.slot), Shift):
            moved = moved + before.shift.double()
        self.linear.bias = nn.Parameter(image.to(weight), requires_grad=False)
        setattr(self.owner, self.slot, Shift(moved.to(self.norm)))


def _sites(work: Work) -> Iterator[tuple[_Site, Array]]:
    """Each projection input with its calibration values, (tokens, channels), layer by layer."""
    c, u = work.model.config, work.embedded()
    layers = layers_of(work.model)
    for index, layer in enumerate(layers):
        work.progress("smoothing", index, len(layers))
        u, trace = trace_layer(layer, u)
        for site, name in _sites_of(layer, c.ngroups):
            yield site, trace.inputs(name).reshape(-1, site.linear.in_features).astype(np.float64)
    work.progress("smoothing", len(layers), len(layers))


def _sites_of(layer: Mamba2Layer, ngroups: int) -> list[tuple[_Site, str]]:
    mixer = layer.mixer
    if isinstance(mixer.before_out, GroupedHadamard):
        raise ValueError("channels cannot be scaled behind an on-line Hadamard transform")
    return [
        (_Site(layer, "before_in", layer.norm, mixer.in_proj, 1), "in_proj.input"),
        (_Site(mixer, "before_out", mixer.norm, mixer.out_proj, ngroups), "out_proj.input"),
    ]


@torch.no_grad()
def smooth(work: Work, alpha: float) -> None:
    """Move range from activations into weights: scale max|x|^alpha / max|W|^(1 - alpha).

    Raises
    ------
    ValueError
        If an on-line transform stands between a norm and its projection.
    """
    for site, x in _sites(work):
        seen, weight = np.abs(x).max(0), np.abs(numpy64(site.linear.weight)).max(0)
        live = (seen > 0) & (weight > 0)
        scale = seen.clip(LEAST) ** alpha / weight.clip(LEAST) ** (1 - alpha)
        site.scale_down(np.where(live, scale, 1.0).clip(LEAST))


@torch.no_grad()
def suppress_outliers(work: Work, steps: int) -> None:
    """Shift channels to the middle of their range, then scale those above a threshold down to it.

    The threshold is the one of ``steps`` with the least output error of the projection quantized
    in ``work.formats``, round to nearest.

    Raises
    ------
    ValueError
        If an on-line transform stands between a norm and its projection.
    """
    for site, x in _sites(work):
        shift = (x.max(0) + x.min(0)) / 2
        site.shift_down(shift)
        site.scale_down(_best_scale(site, x - shift, work.formats, steps))


def _best_scale(site: _Site, x: Array, formats: Formats, steps: int) -> Array:
    """Scales max(1, max|x| / threshold), (channels,), of the best threshold."""
    largest = np.abs(x).max(0)
    top = float(largest.max())
    if top == 0:
        return np.ones_like(largest)
    op, weight = formats.projection, numpy64(site.linear.weight)
    padding = OnlineHadamard(1, pad=formats.group)
    pad = GroupedHadamard(padding, site.groups, x.shape[1] // site.groups)

    def padded(value: Array) -> Array:
        return numpy64(pad(torch.from_numpy(value)))

    sample = x[:: -(-len(x) // TOKENS)]
    wanted = sample @ weight.T
    best, chosen = np.inf, np.ones(len(largest))
    for threshold in np.geomspace(top, max(float(np.median(largest)), top * 1e-4), steps):
        scale: Array = np.maximum(1.0, largest / threshold)
        packed = quantize_weights(
            padded(weight * scale), bits=op.bits, group=op.group, rounding="rtn"
        )
        got = fake_quantize(padded(sample / scale), op.act) @ packed.dequantize().T
        if (error := float(((got - wanted) ** 2).sum())) < best:
            best, chosen = error, scale
    return chosen
