"""Weights to integers: bounds, order of merit, an independent GPTQ, and the target correction."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lightmamba.quantization import weights
from lightmamba.quantization.moments import Factor, Moments, correct_target
from lightmamba.quantization.weights import SCALE, PackedWeights

WEIGHTS = hnp.arrays(np.float64, (3, 8), elements=st.floats(-1e3, 1e3, width=32))


def quantize_weights(weight, *, hessian=None, **options):
    """The function under test on arrays."""
    factor = None if hessian is None else Factor(torch.from_numpy(hessian))
    return weights.quantize_weights(torch.from_numpy(weight), factor=factor, **options)


def error(moments, x_f, weight, quantized):
    """Squared error of the outputs relative to their energy."""
    energy = ((x_f @ weight.T) ** 2).sum()
    found = moments.excess(torch.from_numpy(weight), torch.from_numpy(quantized))
    return (energy + found) / energy


def corrected(weight, moments, strength):
    target = torch.from_numpy(weight)
    return correct_target(target, moments, Factor(moments.qq), strength).numpy()


def scales(packed: PackedWeights):
    """Scale of every weight."""
    group = packed.q.shape[1] // packed.code.shape[1]
    return np.repeat(SCALE.multiplier(packed.code) * 2.0**packed.base, group, axis=1)


def real(packed: PackedWeights):
    """Values of the integers, in float64."""
    return packed.rows(slice(None), torch.zeros((), dtype=torch.float64)).numpy()


def correlated(rng, tokens, channels):
    """Inputs with a few strong directions, as activations have them."""
    directions = rng.standard_normal((channels // 4, channels))
    x = rng.standard_normal((tokens, channels // 4)) @ directions
    return x + 0.1 * rng.standard_normal((tokens, channels))


def moments_of(x_q, x_f):
    moments = Moments(x_q.shape[1], 0, torch.zeros((), dtype=torch.float64))
    moments.add(torch.from_numpy(x_q), torch.from_numpy(x_f))
    return moments.whole()


def test_worked_values():
    """Two rows by hand: absmax 7 gives scale 1, absmax 1 the scale 592/4096 nearest to 1/7."""
    weight = np.array([[7.0, -3.5], [1.0, 0.5]])
    packed = quantize_weights(weight, bits=4, group=2, rounding="rtn")
    assert packed.base == -12
    np.testing.assert_array_equal(packed.code, [[7 * 32], [4 * 32 + 5]])
    np.testing.assert_array_equal(packed.q, [[7, -3], [7, 3]])  # half up: -3.5 becomes -3
    small = 592 / 4096
    np.testing.assert_array_equal(real(packed), [[7.0, -3.0], [7 * small, 3 * small]])


@pytest.mark.parametrize("rounding", ["rtn", "mse"])
@pytest.mark.parametrize("bits", [4, 8])
@given(weight=WEIGHTS)
def test_half_a_step_inside_the_clipping_range(weight, bits, rounding):
    packed = quantize_weights(weight, bits=bits, group=4, rounding=rounding)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    step = scales(packed)
    inside = (weight >= (low - 0.5) * step) & (weight <= (high + 0.5) * step)
    error = np.abs(real(packed) - weight)
    assert (error[inside] <= step[inside] / 2 * (1 + 1e-12)).all()
    clipped = np.where(weight > 0, high, low)
    np.testing.assert_array_equal(packed.q[~inside], clipped[~inside])


@given(weight=WEIGHTS)
def test_rounding_to_nearest_clips_less_than_a_step_of_its_scale(weight):
    """The scale is within 1/64 of absmax/7 unless a row is 2^7 below the tensor's largest."""
    packed = quantize_weights(weight, bits=4, group=8, rounding="rtn")
    wanted = np.abs(weight).max(1) / 7
    fine = wanted > wanted.max() * 2.0**-7
    got = scales(packed)[:, 0]
    assert (np.abs(got - wanted)[fine] <= wanted[fine] / 64 * (1 + 1e-9)).all()


@given(weight=WEIGHTS)
def test_clipping_search_never_loses(weight):
    errors = {}
    for rounding in ("rtn", "mse"):
        packed = quantize_weights(weight, bits=4, group=4, rounding=rounding)
        errors[rounding] = ((real(packed) - weight) ** 2).reshape(3, 2, 4).sum(-1)
    assert (errors["mse"] <= errors["rtn"]).all()


def test_clipping_search_wins_on_heavy_tails():
    weight = np.random.default_rng(0).standard_normal((64, 256)) ** 3
    errors = [
        ((real(quantize_weights(weight, bits=4, group=128, rounding=r)) - weight) ** 2).sum()
        for r in ("rtn", "mse")
    ]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("seed", range(3))
def test_gptq_beats_rounding_on_correlated_inputs(seed):
    rng = np.random.default_rng(seed)
    weight, x = rng.standard_normal((24, 64)), correlated(rng, 500, 64)
    moments, errors = moments_of(x, x), {}
    for rounding in ("mse", "gptq"):
        packed = quantize_weights(weight, bits=4, group=32, rounding=rounding, hessian=x.T @ x)
        errors[rounding] = error(moments, x, weight, real(packed))
    assert errors["gptq"] < 0.6 * errors["mse"]


def naive_gptq(weight, hessian, packed):
    """Optimal brain surgeon, one column at a time, each time inverting what is left."""
    left, step, q = weight.copy(), scales(packed), np.zeros(weight.shape)
    damped = hessian + 0.01 * np.diag(hessian).mean() * np.eye(len(hessian))
    for k in range(weight.shape[1]):
        inverse = np.linalg.inv(damped[k:, k:])
        q[:, k] = np.floor(left[:, k] / step[:, k] + 0.5).clip(-8, 7)
        error = (left[:, k] - q[:, k] * step[:, k]) / inverse[0, 0]
        left[:, k:] -= np.outer(error, inverse[0])
    return q


@pytest.mark.parametrize(("channels", "group"), [(16, 4), (80, 40)])
def test_gptq_is_optimal_brain_surgery(channels, group):
    """Groups of 40 take two runs of 16 columns and a shorter one."""
    rng = np.random.default_rng(5)
    weight, x = rng.standard_normal((6, channels)), correlated(rng, 300, channels)
    packed = quantize_weights(weight, bits=4, group=group, rounding="gptq", hessian=x.T @ x)
    np.testing.assert_array_equal(packed.q, naive_gptq(weight, x.T @ x, packed))


def test_dead_channels_are_zero_also_where_all_are():
    rng = np.random.default_rng(7)
    x = correlated(rng, 100, 32)
    x[:, [3, 20]] = 0
    weight = rng.standard_normal((8, 32))
    before = weight.copy()
    packed = quantize_weights(weight, bits=4, group=16, rounding="gptq", hessian=x.T @ x)
    assert not packed.q[:, [3, 20]].any()
    assert packed.q[:, [2, 19]].any()
    np.testing.assert_array_equal(weight, before)
    nothing = np.zeros((8, 8))
    dead = quantize_weights(np.ones((2, 8)), bits=4, group=8, rounding="gptq", hessian=nothing)
    assert not dead.q.any()


@pytest.mark.parametrize("rounding", ["rtn", "mse", "gptq"])
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_fit_and_come_out_the_same_twice(rounding, bits):
    rng = np.random.default_rng(8)
    weight, x = rng.standard_normal((8, 64)) * 1e4, correlated(rng, 200, 64)
    weight[:4] *= 1e-6  # spread beyond the eight octaves of a group scale
    once, again = (
        quantize_weights(weight, bits=bits, group=32, rounding=rounding, hessian=x.T @ x)
        for _ in range(2)
    )
    assert once.q.dtype == np.int8
    assert once.code.dtype == np.uint8
    assert once.q.min() >= -(1 << (bits - 1))
    assert once.q.max() <= (1 << (bits - 1)) - 1
    assert np.abs(once.q).max() >= 1 << (bits - 2)  # the range is used
    assert (once.code.max() >> 5) == 7  # and the largest scale lies in the top octave
    for name in ("q", "code", "base"):
        np.testing.assert_array_equal(getattr(once, name), getattr(again, name))


@pytest.mark.parametrize(("rounding", "hessian"), [("nearest", np.eye(4)), ("gptq", None)])
def test_unknown_rounding_is_refused(rounding, hessian):
    with pytest.raises(ValueError, match="rounding must be rtn, mse or gptq"):
        quantize_weights(np.ones((2, 4)), bits=4, group=4, rounding=rounding, hessian=hessian)


@pytest.mark.parametrize("channels", [12, 3])
def test_moments_give_the_direct_error(channels):
    rng = np.random.default_rng(9)
    x_f = rng.standard_normal((50, channels))
    x_q = x_f + 0.1 * rng.standard_normal((50, channels))
    weight = rng.standard_normal((5, channels))
    quantized = np.round(weight * 4) / 4
    parts = moments_of(x_q[:20], x_f[:20]).join(moments_of(x_q[20:], x_f[20:]))
    np.testing.assert_allclose(parts.qq.numpy(), x_q.T @ x_q, rtol=1e-12)
    wanted = ((x_f @ weight.T - x_q @ quantized.T) ** 2).sum() / ((x_f @ weight.T) ** 2).sum()
    assert error(parts, x_f, weight, quantized) == pytest.approx(wanted, rel=1e-9)


def test_moments_of_outputs_are_those_of_inputs():
    """Square weights, where sizes alone do not tell outputs from inputs."""
    rng = np.random.default_rng(12)
    x_f, x_q = rng.standard_normal((2, 60, 8))
    weight = torch.from_numpy(rng.standard_normal((8, 8)))
    outputs = Moments(8, 8, weight)
    outputs.add(torch.from_numpy(x_q), torch.from_numpy(x_f) @ weight.T)
    inputs, rows = moments_of(x_q, x_f), slice(1, 7, 2)
    for part in (slice(None), rows):
        torch.testing.assert_close(
            outputs.whole().wanted(weight[part], part), inputs.wanted(weight[part], part)
        )
        factor = Factor(inputs.qq)
        torch.testing.assert_close(
            correct_target(weight[part], outputs, factor, 0.5, part),
            correct_target(weight[part], inputs, factor, 0.5, part),
        )


@pytest.mark.parametrize("channels", [5, 300, 700])
def test_the_factor_is_that_of_the_damped_inverse(channels):
    """300 and 700 channels are inverted in halves; two of them are dead."""
    x = correlated(np.random.default_rng(13), 800, channels)
    x[:, [1, 3]] = 0
    h = x.T @ x
    damped = h + 0.01 * np.diag(h)[np.diag(h) > 0].mean() * np.eye(channels)
    damped[[1, 3], [1, 3]] += 1
    factor = Factor(torch.from_numpy(h))
    upper = factor.upper.numpy()
    assert not np.tril(upper, -1).any()
    np.testing.assert_allclose(upper.T @ upper @ damped, np.eye(channels), atol=1e-9)
    assert factor.dead.nonzero().flatten().tolist() == [1, 3]
    rows = torch.from_numpy(np.random.default_rng(14).standard_normal((3, channels)))
    np.testing.assert_allclose(factor.solve(rows).numpy() @ damped, rows.numpy(), atol=1e-9)


def test_rows_in_blocks_are_rows_at_once(monkeypatch):
    rng = np.random.default_rng(15)
    weight, x = rng.standard_normal((50, 64)), correlated(rng, 300, 64)
    for rounding in ("rtn", "mse", "gptq"):
        options = {"bits": 4, "group": 32, "rounding": rounding, "hessian": x.T @ x}
        whole = quantize_weights(weight, **options)
        monkeypatch.setattr(weights, "ROWS", 16)
        monkeypatch.setattr(weights, "PART", 7)
        parts = quantize_weights(weight, **options)
        monkeypatch.undo()
        for name in ("q", "code", "base"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_single_precision_rounds_nearly_as_double():
    """The quantizer works in float32: few integers differ, and no error grows by a percent."""
    rng = np.random.default_rng(16)
    weight, x = rng.standard_normal((64, 256)), correlated(rng, 2000, 256)
    hessian = torch.from_numpy(x.T @ x)
    packed = [
        weights.quantize_weights(
            torch.from_numpy(weight).to(kind), bits=4, group=64, rounding="gptq",
            factor=Factor(hessian.to(kind)),
        )
        for kind in (torch.float64, torch.float32)
    ]  # fmt: skip
    losses = [(((real(p) - weight) @ x.T) ** 2).sum() for p in packed]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_target_correction_aims_at_the_float_outputs():
    rng = np.random.default_rng(10)
    x_f = correlated(rng, 400, 16)
    x_q = np.round(x_f * 0.7) + 0.2  # a path with a gain and an offset of its own
    weight, moments = rng.standard_normal((6, 16)), moments_of(x_q, x_f)
    errors = [error(moments, x_f, weight, corrected(weight, moments, c)) for c in (0.0, 0.5, 1.0)]
    assert errors[0] == error(moments, x_f, weight, weight)
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.2 * errors[0]


def test_target_correction_at_full_strength_is_damped_least_squares():
    rng = np.random.default_rng(11)
    x_f, noise = rng.standard_normal((2, 300, 8))
    x_q = x_f + 0.3 * noise
    weight, moments = rng.standard_normal((4, 8)), moments_of(x_q, x_f)
    damping = 0.01 * np.diag(moments.qq.numpy()).mean()
    # |V x_q - W x_f|² + λ|V - W|² is least where each row of V solves the stacked system.
    stacked = np.vstack([x_q, np.sqrt(damping) * np.eye(8)])
    wanted = np.vstack([x_f @ weight.T, np.sqrt(damping) * weight.T])
    solution = np.linalg.lstsq(stacked, wanted, rcond=None)[0].T
    np.testing.assert_allclose(corrected(weight, moments, 1.0), solution, atol=1e-9)


def test_target_correction_without_inputs_changes_nothing():
    weight = np.arange(12.0).reshape(3, 4)
    nothing = Moments(4, 0, torch.zeros((), dtype=torch.float64)).whole()
    np.testing.assert_array_equal(corrected(weight, nothing, 1.0), weight)
