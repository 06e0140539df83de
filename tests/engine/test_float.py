"""An independent witness: the equations of Mamba2 in float64 on the real values of the integers.

Nothing here uses a shift or a table of the engine; only what each integer is said to mean.
"""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmamba.blocks.mamba2.quantized import natural, ssm_step
from lightmamba.engine import Engine
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.numerics.model_formats import Formats
from tests.support.builders import random_model, sizes, token_ids
from tests.support.layers import mixer_of, sizes_of

Array = NDArray[np.float64]


def scaled(q: NDArray[np.int8], code: NDArray[np.uint8], base: int) -> Array:
    """q · (32 + m) · 2^e · 2^base, with code = m + 32 e for each group of columns."""
    scale = (32 + code % 32).astype(float) * 2.0 ** (code // 32) * 2.0**base
    return np.asarray(q * np.repeat(scale, q.shape[1] // code.shape[1], axis=1))


def rms_inverse(x: Array, eps: float) -> Array:
    """1 / sqrt(sum of squares + eps); the factor sqrt(channels) lies in the weights."""
    return np.asarray(1 / np.sqrt((x * x).sum(-1, keepdims=True) + eps))


def silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-x)))


def sylvester(order: int) -> Array:
    """Hadamard matrix of a power of two."""
    matrix = np.ones((1, 1))
    while len(matrix) < order:
        matrix = np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix


def pad(x: Array, channels: int) -> Array:
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, channels - x.shape[-1])])


class FloatModel:
    """One sequence, token by token."""

    def __init__(self, model: QuantizedModel) -> None:
        self.m, c = model, sizes_of(model.config)
        self.window = [np.zeros((c.d_conv - 1, c.conv_dim)) for _ in model.layers]
        self.h = [np.zeros((c.nheads, c.headdim, c.d_state)) for _ in model.layers]
        self.g = [np.zeros(c.d_inner) for _ in model.layers]  # of the last token
        t = model.embedding
        self.embedding = scaled(t.q, t.code, t.base)

    def normalized(self, linear: QuantizedLinear, u: Array) -> Array:
        """Input of in_proj or the head: u over its norm, then scale and shift of OS+."""
        m = self.m
        inverse = rms_inverse(u, m.eps * 2.0 ** (2 * (m.residual_exp + 8)))
        x = pad(u, linear.q.shape[1])
        if linear.input_scale is not None:
            x = x * linear.input_scale * 2.0**linear.input_scale_exp
        x = x * inverse
        if linear.input_shift is not None:
            # z·rms in units of u: the engine's root is sqrt(sum (u / 2^8)^2) · 2^15
            x = x - linear.input_shift * 2.0 ** (linear.input_shift_exp + 15 - 8)
        return x

    def project(self, linear: QuantizedLinear, x: Array, unit: Any) -> Array:
        rows = scaled(linear.q, linear.code, linear.base) @ x
        return rows if linear.bias is None else rows + linear.bias * unit

    def step(self, token: int) -> Array:
        m, c = self.m, sizes_of(self.m.config)
        u = self.embedding[token, : m.config.d_model]
        for i, layer in enumerate(m.layers):
            mixer = mixer_of(layer)
            e = mixer.exponents
            row_exp = np.concatenate(
                [
                    np.repeat([e.z, e.x], c.d_inner),
                    np.repeat([e.B, e.C], c.ngroups * c.d_state),
                    np.repeat(-11, c.nheads),
                ]
            )
            rows = self.project(layer.in_proj, self.normalized(layer.in_proj, u), 2.0**row_exp)
            z, xBC, dt = np.split(rows, [c.d_inner, c.d_inner + c.conv_dim])
            x, B, C = self.convolve(i, xBC, row_exp[c.d_inner : c.d_inner + c.conv_dim])
            dt = np.log1p(np.exp(dt + mixer.dt_bias * 2.0**-11)).clip(*c.dt_limit)
            decay = 2.0 ** -(dt * mixer.A * 2.0 ** -mixer.A_shift.astype(float))
            x = x.reshape(c.nheads, c.headdim)
            B, C = (
                np.repeat(v.reshape(c.ngroups, -1), c.nheads // c.ngroups, axis=0) for v in (B, C)
            )
            self.h[i] *= decay[:, None, None]
            self.h[i] += (dt[:, None] * x)[:, :, None] * B[:, None]
            y = (self.h[i] * C[:, None]).sum(-1) + (mixer.D * 2.0**e.D)[:, None] * x
            g = self.g[i] = y.ravel() * silu(z)
            u = u + self.out(layer, g)
        return self.project(m.head, self.normalized(m.head, u), 0)

    def convolve(self, i: int, xBC: Array, row_exp: NDArray[np.int64]) -> list[Array]:
        mixer = mixer_of(self.m.layers[i])
        c, e = mixer.sizes, mixer.exponents
        width = c.ngroups * c.d_state
        out_exp = np.concatenate(
            [np.repeat(e.conv_x, c.d_inner), np.repeat(e.conv_B, width), np.repeat(e.conv_C, width)]
        )
        unit = 2.0 ** (out_exp - mixer.conv_out_shift)  # of the sum
        taps = mixer.conv_weight * (unit / 2.0 ** (row_exp + mixer.conv_in_shift))
        window = np.concatenate([self.window[i], xBC[None]])
        self.window[i] = window[1:]
        out = silu((window * taps).sum(0) + mixer.conv_bias * unit)
        return np.split(out, [c.d_inner, c.d_inner + width])

    def out(self, layer: QuantizedLayer, g: Array) -> Array:
        f, mixer = self.m.formats, mixer_of(layer)
        c, e = mixer.sizes, mixer.exponents
        weighted = (g * mixer.gate_weight * 2.0**e.gate_weight).reshape(c.ngroups, -1)
        inverse = rms_inverse(g.reshape(c.ngroups, -1), mixer.eps_gate * 2.0 ** (2 * e.gate))
        mixed = pad(weighted, -(-c.group_dim // f.group) * f.group) * inverse
        size = f.hadamard or mixed.shape[1]
        turned = mixed.reshape(c.ngroups, -1, size) @ sylvester(size)
        return self.project(layer.out_proj, turned.ravel(), 2.0**self.m.residual_exp)


CASES: dict[str, tuple[ModelConfig, dict[str, Any], bool]] = {
    "plain": (sizes(d_model=64, headdim=32, d_state=32), {}, False),
    "groups": (sizes(d_model=96, headdim=48, d_state=24, ngroups=2), {}, False),
    "whole": (sizes(d_model=256, headdim=64, conv_bias=False), {"hadamard": 0}, False),
    "none": (sizes(d_model=64, headdim=32, dt_limit=(0.01, 0.1)), {"hadamard": 1}, False),
    "comparison": (sizes(d_model=64, headdim=32), {"group": 64, "hadamard": 64}, True),
}


def decibels(got: Array, wanted: Array) -> float:
    """Energy of what is wanted over that of the error."""
    return 10 * math.log10((wanted**2).sum() / ((got - wanted) ** 2).sum())


@pytest.mark.parametrize("name", CASES)
def test_integers_mean_what_they_say(name):
    """At 8 bits logits, state and gate lie within about a tenth of the float ones: 18 dB.

    They came to 20 to 31 dB; any exponent that is one off makes one of them less than 15.
    """
    shape, formats, comparison = CASES[name]
    wide = Formats(weight_bits=8, act_bits=8, head_weight_bits=8, head_qmax=127, **formats)
    model = random_model(shape, wide, seed=3, comparison=comparison)
    ids = token_ids(model.config, 1, 16)
    seen: dict[str, Any] = {}
    engine, witness = Engine(model), FloatModel(model)
    logits, state = engine.forward(
        ids, engine.empty_state(1), last_only=False, observe=seen.__setitem__
    )
    wanted = np.array([witness.step(token) for token in ids[0]])
    assert decibels(logits[0] * 2.0**model.logit_exp, wanted) > 20
    for i, layer in enumerate(model.layers):
        sizes, e = sizes_of(shape, i), mixer_of(layer).exponents
        stored, exponents = (natural(state.layer(i)[part])[0] for part in ("h", "h_exp"))
        blocks = np.repeat(exponents.astype(int), ssm_step(sizes, wide).block, axis=-1)
        h = (stored * 2.0 ** (blocks + e.state))[..., : sizes.d_state]
        assert decibels(h, witness.h[i]) > 18, f"state of layer {i}"
        g = seen[f"layer.{i}.gate.g"][0, -1] * 2.0**e.gate
        assert decibels(g, witness.g[i]) > 18, f"gate of layer {i}"


def test_four_bits_still_follow():
    """And coarse activations blur, but do not mislead: 14 dB (19 were seen)."""
    model = random_model(sizes(d_model=64, headdim=32), seed=0)
    ids = token_ids(model.config, 1, 16)
    engine, witness = Engine(model), FloatModel(model)
    logits, _ = engine.logits(ids, engine.empty_state(1))
    assert decibels(logits[0], np.array([witness.step(token) for token in ids[0]])) > 14
