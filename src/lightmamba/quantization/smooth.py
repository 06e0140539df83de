"""Channel scaling and shifting, the methods that rotation is compared with.

SmoothQuant (Xiao et al., arXiv 2211.10438) and Outlier Suppression+ (Wei et al., arXiv 2304.09145)
on the inputs of in_proj and out_proj. Both keep the function: a scale goes from the norm's weight
into the projection's columns, a shift from the input into the projection's bias.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmamba.blocks.floating import numpy64
from lightmamba.model.causal_lm import Layer
from lightmamba.numerics.gate import OnlineHadamard
from lightmamba.numerics.linear import Projection
from lightmamba.quantization.rotation import wide
from lightmamba.quantization.transforms import GroupedHadamard, Shift, set_parameter
from lightmamba.quantization.weights import quantize_weights
from lightmamba.quantization.work import Site, fake_quantize

__all__ = ["smooth", "suppress_outliers"]

Array = NDArray[np.float64]
LEAST = 1e-5  # of a scale, and of the magnitudes that it is made of
TOKENS = 512  # that judge a threshold


@dataclass(frozen=True)
class _Input:
    """Producer of a projection's input, a slot for a shift, and the projection."""

    owner: nn.Module
    slot: str  # attribute of owner: before_in or before_out
    divide: Callable[[Tensor], Tensor]  # divides it by channel; what it was divided by
    linear: nn.Linear
    groups: int  # runs of channels, each padded by itself

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device of the layer."""
        return self.linear.weight

    def scale_down(self, scale: Array) -> None:
        """Divide the input by ``scale`` (channels,) and multiply the columns by it."""
        s = self.divide(_on(self.like, scale))
        set_parameter(self.linear.weight, wide(self.linear.weight) * s)
        if isinstance(before := getattr(self.owner, self.slot), Shift):
            setattr(self.owner, self.slot, Shift((wide(before.shift) / s).to(self.like)))

    def shift_down(self, shift: Array) -> None:
        """Subtract ``shift`` (channels,) from the input and add its image to the bias."""
        moved, weight = _on(self.like, shift), self.linear.weight
        image = wide(weight) @ moved
        if self.linear.bias is not None:
            image = image + wide(self.linear.bias)
        if isinstance(before := getattr(self.owner, self.slot), Shift):
            moved = moved + wide(before.shift)
        self.linear.bias = nn.Parameter(image.to(weight), requires_grad=False)
        setattr(self.owner, self.slot, Shift(moved.to(self.like)))


def _on(like: Tensor, value: Array) -> Tensor:
    """A vector on the device of ``like``, as exact as that allows."""
    precise = torch.from_numpy(value)
    return (precise.float() if like.device.type == "mps" else precise).to(like.device)


def _inputs_of(layer: Layer) -> list[tuple[_Input, str]]:
    mixer = layer.mixer
    if isinstance(mixer.before_out, GroupedHadamard):
        raise ValueError("channels cannot be scaled after an on-line Hadamard transform")

    def divide_norm(scale: Tensor) -> Tensor:
        set_parameter(layer.norm, wide(layer.norm) / scale)
        return scale

    groups = mixer.sizes.out_groups
    return [
        (_Input(layer, "before_in", divide_norm, mixer.in_proj, 1), "in_proj.input"),
        (_Input(mixer, "before_out", mixer.divide_output, mixer.out_proj, groups),
         "out_proj.input"),
    ]  # fmt: skip


@torch.no_grad()
def smooth(site: Site, alpha: float) -> None:
    """Move range from activations into weights: scale max|x|^alpha / max|W|^(1 - alpha).

    Raises
    ------
    ValueError
        If an on-line transform is between a norm and its projection.
    """
    inputs = _inputs_of(site.layer)
    trace = site.observe(site.tokens)
    for place, name in inputs:
        seen = numpy64(torch.maximum(trace.high[name], -trace.low[name]))
        weight = numpy64(place.linear.weight.abs().amax(0))
        live = (seen > 0) & (weight > 0)
        scale = seen.clip(LEAST) ** alpha / weight.clip(LEAST) ** (1 - alpha)
        place.scale_down(np.where(live, scale, 1.0).clip(LEAST))


@torch.no_grad()
def suppress_outliers(site: Site, steps: int) -> None:
    """Shift channels to the middle of their range, then scale those above a threshold down to it.

    The threshold is the one of ``steps`` with the least output error of the projection quantized
    in the run's formats, round to nearest.

    Raises
    ------
    ValueError
        If an on-line transform is between a norm and its projection.
    """
    inputs = _inputs_of(site.layer)
    trace = site.observe(-(-site.tokens // TOKENS))
    for place, name in inputs:
        op = site.work.formats.of(site.index, name.removesuffix(".input"))
        low, high = numpy64(trace.low[name]), numpy64(trace.high[name])
        shift = (high + low) / 2
        place.shift_down(shift)
        sample = numpy64(trace.inputs(name)) - shift
        place.scale_down(_best_scale(place, sample, high - shift, op, steps))


def _best_scale(place: _Input, sample: Array, largest: Array, op: Projection, steps: int) -> Array:
    """Scales max(1, max|x| / threshold), (channels,), of the best threshold."""
    top = float(largest.max())
    if top == 0:
        return np.ones_like(largest)
    weight = place.linear.weight.detach()
    padding = OnlineHadamard(1, pad=op.group)
    pad = GroupedHadamard(padding, place.groups, sample.shape[1] // place.groups)
    x = torch.from_numpy(sample).to(weight)
    wanted = x @ weight.T
    best, chosen = np.inf, np.ones(len(largest))
    for threshold in np.geomspace(top, max(float(np.median(largest)), top * 1e-4), steps):
        scale: Array = np.maximum(1.0, largest / threshold)
        s = torch.from_numpy(scale).to(weight)
        packed = quantize_weights(
            pad(weight * s), bits=op.bits, group=op.group, rounding="rtn", qmax=op.weight_qmax
        )
        seen = torch.from_numpy(fake_quantize(numpy64(pad(x / s)), op.act)).to(weight)
        got = seen @ packed.rows(slice(None), weight).T
        if (error := float((got - wanted).square().sum(1).cpu().double().sum())) < best:
            best, chosen = error, scale
    return chosen
