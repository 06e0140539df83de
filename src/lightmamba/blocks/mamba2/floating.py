"""A floating-point Mamba2 mixer, and its integers by the ranges that calibration saw.

Source of the maths: Dao and Gu, "Transformers are SSMs" (arXiv 2405.21060), Listing 1, section 7.
Shapes use words: ``(batch, seqlen, nheads, headdim)``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmamba.blocks.floating import BaseMixer, numpy64, rms_norm
from lightmamba.blocks.layer import hadamard_shift
from lightmamba.blocks.mamba2 import quantized
from lightmamba.blocks.mamba2.quantized import Sizes
from lightmamba.numerics.formats import (
    HEADROOM_16,
    HEADROOM_WIDE,
    exponent_for,
    square_exponent,
    to_fixed,
)
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.tables import Q5_11, tables

__all__ = ["Cache", "Mixer", "lower", "ssd_chunked"]

Seen = Mapping[str, NDArray[np.float64]]


@dataclass
class Cache:
    """State of a sequence in one layer."""

    conv_state: Tensor  # (batch, d_conv - 1, conv_dim): the last inputs of the convolution
    ssm_state: Tensor  # (batch, nheads, headdim, d_state)

    def take(self, rows: Tensor) -> "Cache":
        """Copy of the sequences ``rows``, in this order; one may come several times."""
        return Cache(self.conv_state[rows], self.ssm_state[rows])

    def values(self) -> Tensor:
        """Values that are stored in quantized form, (batch, values)."""
        return self.ssm_state.flatten(1)


def ssd_chunked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, chunk_size: int
) -> tuple[Tensor, Tensor]:
    """Run h[t] = exp(dt·A)·h[t-1] + dt·x⊗B, y = h·C over a sequence, chunk by chunk.

    Parameters
    ----------
    x
        (batch, seqlen, nheads, headdim)
    dt
        (batch, seqlen, nheads)
    A
        (nheads,), negative.
    B, C
        (batch, seqlen, ngroups, d_state)
    state
        (batch, nheads, headdim, d_state), h before the first token.
    chunk_size
        Tokens that are taken together.

    Returns
    -------
    y, state
        y as ``x``, and h after the last token (arXiv 2405.21060, Listing 1).
    """
    batch, seqlen, nheads, headdim = x.shape
    ngroups, d_state = B.shape[2:]
    per_group = nheads // ngroups
    Q = min(chunk_size, seqlen)
    pad = -seqlen % Q  # dt = 0 leaves the state as it is
    x, B, C = (F.pad(t, (0, 0, 0, 0, 0, pad)) for t in (x, B, C))
    dt = F.pad(dt, (0, 0, 0, pad))
    chunks = (seqlen + pad) // Q

    # (batch, chunks, ngroups, per_group, Q, ...)
    def by_head(t: Tensor) -> Tensor:
        return t.reshape(batch, chunks, Q, ngroups, per_group, -1).permute(0, 1, 3, 4, 2, 5)

    def by_group(t: Tensor) -> Tensor:
        return t.reshape(batch, chunks, Q, ngroups, d_state).transpose(2, 3)

    xdt = by_head(x * dt[..., None])
    decay = by_head((dt * A)[..., None])[..., 0].cumsum(-1)
    B, C = by_group(B), by_group(C)
    causal = torch.ones(Q, Q, dtype=torch.bool, device=x.device).tril()
    steps = decay[..., :, None] - decay[..., None, :]
    L = steps.masked_fill(~causal, -torch.inf).exp()
    y = ((C @ B.transpose(-1, -2))[:, :, :, None] * L) @ xdt

    last = decay[..., -1:]
    inputs = xdt * (last - decay).exp()[..., None]
    # (batch, chunks, ngroups, per_group, headdim, d_state)
    states = inputs.transpose(-1, -2) @ B[:, :, :, None]
    h = state.reshape(batch, ngroups, per_group, headdim, d_state)
    before = []
    for chunk in range(chunks):
        before.append(h)
        h = last[:, chunk].exp()[..., None] * h + states[:, chunk]
    y = y + (C[:, :, :, None] @ torch.stack(before, 1).transpose(-1, -2)) * decay.exp()[..., None]
    y = y.permute(0, 1, 4, 2, 3, 5).reshape(batch, chunks * Q, nheads, headdim)
    return y[:, :seqlen], h.reshape(batch, nheads, headdim, d_state)


class Mixer(BaseMixer):
    """One Mamba2 mixer between norm and residual addition."""

    def __init__(self, sizes: Sizes, d_model: int) -> None:
        super().__init__(sizes, d_model)
        self.conv1d = nn.Conv1d(
            sizes.conv_dim, sizes.conv_dim, sizes.d_conv, groups=sizes.conv_dim,
            bias=sizes.conv_bias,
        )  # fmt: skip
        self.dt_bias = nn.Parameter(torch.zeros(sizes.nheads))
        self.A_log = nn.Parameter(torch.zeros(sizes.nheads))
        self.D = nn.Parameter(torch.ones(sizes.nheads))
        self.norm = nn.Parameter(torch.ones(sizes.d_inner))

    def initialize(self, generator: torch.Generator) -> None:
        """As the Mamba2 reference does: dt in 0.001 to 0.1, A in -16 to -1."""

        def uniform(like: Tensor, low: float, high: float) -> Tensor:
            return torch.rand(like.shape, generator=generator) * (high - low) + low

        dt = uniform(self.dt_bias, math.log(1e-3), math.log(1e-1)).exp()
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        self.A_log.copy_(uniform(self.A_log, 1, 16).log())
        self.in_proj.weight.copy_(uniform(self.in_proj.weight, -1, 1) * 0.0625)
        self.out_proj.weight.copy_(uniform(self.out_proj.weight, -1, 1) * 0.0625)
        self.conv1d.weight.copy_(uniform(self.conv1d.weight, -0.5, 0.5))
        if self.conv1d.bias is not None:
            self.conv1d.bias.zero_()

    def empty_cache(self, batch: int) -> Cache:
        """Cache of a sequence that has not begun."""
        c, like = self.sizes, self.in_proj.weight
        return Cache(
            conv_state=like.new_zeros(batch, c.d_conv - 1, c.conv_dim),
            ssm_state=like.new_zeros(batch, c.nheads, c.headdim, c.d_state),
        )

    def _split(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c = self.sizes
        z, xBC, dt = self.begin(u).split([c.d_inner, c.conv_dim, c.nheads], -1)
        return z, xBC, dt

    def _dt(self, dt: Tensor) -> Tensor:
        return F.softplus(dt + self.dt_bias).clamp(*self.sizes.dt_limit)

    def _finish(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        y = self._see("y", (y + self.D[:, None] * x).flatten(-2))
        y = self._see("gate", y * F.silu(z))
        y = rms_norm(y, self.norm, self.sizes.eps, self.sizes.ngroups)
        return self.finish(self._see("gate.normed", y))

    def forward(self, u: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Map (batch, seqlen, d_model) in chunks; the cache carries what came before."""
        c = self.sizes
        z, xBC, dt = self._split(u)
        window = torch.cat([cache.conv_state, xBC], 1)
        xBC = F.silu(self._see("conv", self.conv1d(window.transpose(1, 2)).transpose(1, 2)))
        x, B, C = xBC.split([c.d_inner, c.ngroups * c.d_state, c.ngroups * c.d_state], -1)
        x = x.unflatten(-1, (c.nheads, c.headdim))
        B, C = (t.unflatten(-1, (c.ngroups, c.d_state)) for t in (B, C))
        y, state = ssd_chunked(
            x, self._dt(dt), -self.A_log.exp(), B, C, cache.ssm_state, c.chunk_size
        )
        return self._finish(y, x, z), Cache(window[:, 1 - c.d_conv :], state)

    def step(self, u: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Map one token (batch, d_model), the form that a decoder runs."""
        c = self.sizes
        z, xBC, dt = self._split(u)
        window = torch.cat([cache.conv_state, xBC[:, None]], 1)
        taps = self.conv1d.weight[:, 0].T  # (d_conv, conv_dim)
        xBC = (window * taps).sum(1)
        if self.conv1d.bias is not None:
            xBC = xBC + self.conv1d.bias
        x, B, C = F.silu(xBC).split([c.d_inner, c.ngroups * c.d_state, c.ngroups * c.d_state], -1)
        x = x.unflatten(-1, (c.nheads, c.headdim))
        B, C = (
            t.unflatten(-1, (c.ngroups, c.d_state)).repeat_interleave(c.nheads // c.ngroups, 1)
            for t in (B, C)
        )
        dt = self._dt(dt)
        decay = (dt * -self.A_log.exp()).exp()[..., None, None]
        state = decay * cache.ssm_state + (dt[..., None] * x)[..., None] * B[:, :, None]
        y = (state @ C[..., None])[..., 0]
        return self._finish(y, x, z), Cache(window[:, 1:], state)


def _exponents(mixer: Mixer, formats: Formats, seen: Seen) -> quantized.Exponents:
    c, splits = mixer.sizes, mixer.sizes.sections()
    edge, middle = c.d_inner, c.d_inner + c.ngroups * c.d_state
    conv = {"x": slice(edge), "B": slice(edge, middle), "C": slice(middle, None)}
    weight, gate = np.abs(numpy64(mixer.norm)), seen["gate"]

    def fitting(name: str, bits: int, headroom: float, channels: slice = slice(None)) -> int:
        return exponent_for(float(seen[name][channels].max()), bits, headroom)

    return quantized.Exponents(
        **{k: fitting("rows", 16, HEADROOM_16, splits[k]) for k in "zxBC"},
        **{f"conv_{k}": fitting("conv", 16, HEADROOM_16, conv[k]) for k in "xBC"},
        state=fitting("state", 32, HEADROOM_WIDE),
        y=fitting("y", 24, HEADROOM_WIDE),
        D=exponent_for(float(mixer.D.detach().abs().max()), 16),
        gate=square_exponent(float(gate.max()), 24, 0, c.eps * c.group_dim),
        gate_weight=exponent_for(float(weight.max()), 16),
        weighted=exponent_for(float((gate * weight).max()), 24, HEADROOM_WIDE),
        hadamard_shift=hadamard_shift(c, formats),
    )


def lower(mixer: Mixer, formats: Formats, seen: Seen) -> quantized.Mixer:
    """Everything of a layer but its two projections.

    Parameters
    ----------
    mixer
        As the passes of the recipe left it.
    formats
        Of the model.
    seen : {name: (channels,)}
        Largest magnitude of each value that ``mixer`` showed in calibration.
    """
    c, e = mixer.sizes, _exponents(mixer, formats, seen)
    rows = slice(c.sections()["x"].start, c.sections()["C"].stop)
    bc = c.ngroups * c.d_state
    row_exp = np.repeat([e.x, e.B, e.C], [c.d_inner, bc, bc])
    conv_exp = np.repeat([e.conv_x, e.conv_B, e.conv_C], [c.d_inner, bc, bc])
    in_exp = np.array([exponent_for(v, 8) for v in seen["rows"][rows]])
    in_shift = np.clip(in_exp - row_exp, 0, 15)
    taps = numpy64(mixer.conv1d.weight)[:, 0].T
    weight_exp = np.array([exponent_for(v, 8) for v in np.abs(taps).max(0)])
    unit = row_exp + in_shift + weight_exp
    bias = np.zeros(c.conv_dim)
    if mixer.conv1d.bias is not None:
        bias = numpy64(mixer.conv1d.bias)
    A = np.exp(numpy64(mixer.A_log)) * math.log2(math.e)
    A_shift = 15 - np.frexp(A * (1 + 2.0**-16))[1]
    low, high = tables()[1].limits(*c.dt_limit)
    return quantized.Mixer(
        sizes=c,
        exponents=e,
        conv_weight=to_fixed(taps, weight_exp, 8).astype(np.int8),
        conv_bias=to_fixed(bias, unit, 24).astype(np.int32),
        conv_in_shift=in_shift.astype(np.int8),
        conv_out_shift=np.clip(conv_exp - unit, -24, 40).astype(np.int8),
        dt_bias=to_fixed(numpy64(mixer.dt_bias), Q5_11, 16).astype(np.int16),
        A=to_fixed(A, -A_shift, 16).astype(np.int16),
        A_shift=A_shift.astype(np.int8),
        D=to_fixed(numpy64(mixer.D), e.D, 16).astype(np.int16),
        gate_weight=to_fixed(numpy64(mixer.norm), e.gate_weight, 16).astype(np.int16),
        eps_gate=max(1, round(c.eps * c.group_dim * 2.0 ** (-2 * e.gate))),
        dt_low=low,
        dt_high=high,
    )
