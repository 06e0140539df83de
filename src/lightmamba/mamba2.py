"""Floating-point Mamba2 in one file: the chunked form, the recurrent step, and the cache between.

Source of the maths: Dao and Gu, "Transformers are SSMs" (arXiv 2405.21060), Listing 1, section 7.
Shapes use words: ``(batch, seqlen, nheads, headdim)``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightmamba.config import Mamba2Config

__all__ = ["Cache", "Mamba2", "Mamba2Layer", "Mixer", "rms_norm", "ssd_chunked"]


@dataclass
class Cache:
    """What a sequence leaves behind in one layer."""

    conv_state: Tensor  # (batch, d_conv - 1, conv_dim): the last inputs of the convolution
    ssm_state: Tensor  # (batch, nheads, headdim, d_state)


def rms_norm(x: Tensor, weight: Tensor, eps: float, groups: int = 1) -> Tensor:
    """Divide (..., channels) by its root mean square, one per group, and scale by ``weight``."""
    grouped = x.unflatten(-1, (groups, -1))
    scaled: Tensor = grouped * torch.rsqrt(grouped.square().mean(-1, keepdim=True) + eps)
    return scaled.flatten(-2) * weight


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


class Mixer(nn.Module):
    """One Mamba2 block between two residual additions."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.config = config
        self.in_proj = nn.Linear(config.d_model, config.d_in_proj, bias=False)
        self.conv1d = nn.Conv1d(
            config.conv_dim, config.conv_dim, config.d_conv, groups=config.conv_dim,
            bias=config.conv_bias,
        )  # fmt: skip
        self.dt_bias = nn.Parameter(torch.zeros(config.nheads))
        self.A_log = nn.Parameter(torch.zeros(config.nheads))
        self.D = nn.Parameter(torch.ones(config.nheads))
        self.norm = nn.Parameter(torch.ones(config.d_inner))
        self.before_out: nn.Module = nn.Identity()  # an on-line transform, set by the quantizer
        self.observe: Callable[[str, Tensor], None] | None = None  # sees the values on the way
        self.out_proj = nn.Linear(config.d_inner, config.d_model, bias=False)

    def empty_cache(self, batch: int) -> Cache:
        """Cache of a sequence that has not begun."""
        c, like = self.config, self.in_proj.weight
        return Cache(
            conv_state=like.new_zeros(batch, c.d_conv - 1, c.conv_dim),
            ssm_state=like.new_zeros(batch, c.nheads, c.headdim, c.d_state),
        )

    def _see(self, name: str, value: Tensor) -> Tensor:
        if self.observe is not None:
            self.observe(name, value)
        return value

    def _split(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c = self.config
        rows = self._see("rows", self.in_proj(self._see("in_proj.input", u)))
        z, xBC, dt = rows.split([c.d_inner, c.conv_dim, c.nheads], -1)
        return z, xBC, dt

    def _dt(self, dt: Tensor) -> Tensor:
        return F.softplus(dt + self.dt_bias).clamp(*self.config.dt_limit)

    def _finish(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        y = self._see("y", (y + self.D[:, None] * x).flatten(-2))
        y = self._see("gate", y * F.silu(z))
        y = rms_norm(y, self.norm, self.config.eps, self.config.ngroups)
        y = self._see("out_proj.input", self.before_out(self._see("gate.normed", y)))
        out: Tensor = self.out_proj(y)
        return out

    def forward(self, u: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Map (batch, seqlen, d_model) in chunks; the cache carries what came before."""
        c = self.config
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
        c = self.config
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


class Mamba2Layer(nn.Module):
    """Norm, mixer, residual addition."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.eps = config.eps
        self.norm = nn.Parameter(torch.ones(config.d_model))
        self.before_in: nn.Module = nn.Identity()  # as before_out
        self.mixer = Mixer(config)

    def forward(self, u: Tensor, cache: Cache, *, step: bool = False) -> tuple[Tensor, Cache]:
        mixer = self.mixer.step if step else self.mixer
        out, cache = mixer(self.before_in(rms_norm(u, self.norm, self.eps)), cache)
        return u + out, cache


class Mamba2(nn.Module):
    """Mamba2 language model: token ids in, logits out."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        layers = nn.ModuleList(Mamba2Layer(config) for _ in range(config.n_layer))
        self.layers = cast(Sequence[Mamba2Layer], layers)  # a list of modules forgets their type
        self.norm_f = nn.Parameter(torch.ones(config.d_model))
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.embedding.weight

    def empty_caches(self, batch: int) -> list[Cache]:
        """One cache per layer, for sequences that have not begun."""
        return [layer.mixer.empty_cache(batch) for layer in self.layers]

    def forward(self, ids: Tensor, caches: list[Cache] | None = None) -> tuple[Tensor, list[Cache]]:
        """Logits (batch, seqlen, vocab_size) of (batch, seqlen) ids, and the caches after them."""
        return self._run(ids, caches, step=False)

    def step(self, ids: Tensor, caches: list[Cache] | None = None) -> tuple[Tensor, list[Cache]]:
        """Logits (batch, vocab_size) of one token each, (batch,) ids, by the recurrence."""
        return self._run(ids, caches, step=True)

    def _run(
        self, ids: Tensor, caches: list[Cache] | None, *, step: bool
    ) -> tuple[Tensor, list[Cache]]:
        caches = self.empty_caches(ids.shape[0]) if caches is None else caches
        u, after = self.embedding(ids), []
        for layer, cache in zip(self.layers, caches, strict=True):
            u, cache = layer(u, cache, step=step)
            after.append(cache)
        return self.lm_head(rms_norm(u, self.norm_f, self.config.eps)), after
