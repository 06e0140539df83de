"""SmoothQuant and Outlier Suppression+: what they do to ranges and to errors."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightmamba.quantize.calibrate import trace_layer
from lightmamba.quantize.smooth import smooth, suppress_outliers
from lightmamba.quantize.transforms import layers_of
from lightmamba.quantize.weights import quantize_weights
from lightmamba.quantize.work import Work, fake_quantize
from tests.quantize.cases import SHAPES, token_ids, wild_model

CONFIG = SHAPES["192-two-groups"]
INPUTS = ("in_proj.input", "out_proj.input")


def make_work(seed=0):
    work = Work(wild_model(CONFIG, seed=seed), token_ids(CONFIG, 4, 40, seed=3), seed=0)
    work.formats = replace(work.formats, act_bits=4, weight_bits=4, block=128)
    return work


def inputs_and_weights(work):
    """(layer and name, inputs (tokens, channels), weights) of every projection."""
    u = work.embedded()
    for index, layer in enumerate(layers_of(work.model)):
        u, trace = trace_layer(layer, u)
        for name, linear in zip(INPUTS, (layer.mixer.in_proj, layer.mixer.out_proj), strict=True):
            x = trace.inputs(name).reshape(-1, linear.in_features).astype(np.float64)
            yield f"{index}.{name}", x, linear.weight.detach().numpy()


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_smoothing_splits_the_range_by_alpha(alpha):
    """max|x| becomes max|x|^(1 - a)·max|W|^(1 - a), and max|W| the a-th powers' product."""
    work = make_work()
    before = [
        (np.abs(x).max(0), np.abs(weight).max(0)) for _, x, weight in inputs_and_weights(work)
    ]
    smooth(work, alpha)
    for (seen, largest), (_, x, weight) in zip(before, inputs_and_weights(work), strict=True):
        rest = (seen * largest) ** (1 - alpha)
        np.testing.assert_allclose(np.abs(x).max(0), rest, rtol=1e-5)
        np.testing.assert_allclose(np.abs(weight).max(0), (seen * largest) ** alpha, rtol=1e-5)


def test_a_dead_channel_is_left_alone():
    work = make_work()
    layer = layers_of(work.model)[0]
    layer.norm[3] = 0.0
    layer.mixer.out_proj.weight[:, 5] = 0.0
    before = copy.deepcopy(layer.state_dict())
    smooth(work, 0.5)
    after = layer.state_dict()
    assert all(bool(value.isfinite().all()) for value in after.values())
    column = after["mixer.in_proj.weight"][:, 3]
    assert torch.equal(column, before["mixer.in_proj.weight"][:, 3])
    assert after["mixer.norm"][5] == before["mixer.norm"][5]


def test_shift_centres_every_channel_and_one_threshold_bounds_them():
    work = make_work()
    before = {name: x for name, x, _ in inputs_and_weights(work)}
    suppress_outliers(work, 8)
    for name, x, _ in inputs_and_weights(work):
        np.testing.assert_allclose(x.max(0), -x.min(0), rtol=1e-4, atol=1e-5)
        half = (before[name].max(0) - before[name].min(0)) / 2
        got = np.abs(x).max(0)
        threshold = got.max()
        np.testing.assert_allclose(got, np.minimum(half, threshold), rtol=1e-4, atol=1e-5)


def output_errors(work):
    """Squared error of every projection, its input quantized and its weights as they are."""
    errors = {}
    for name, x, weight in inputs_and_weights(work):
        width = -x.shape[1] % 128 if name.endswith("in_proj.input") else 0
        x, weight = (np.pad(v, [(0, 0), (0, width)]) for v in (x, weight))
        noise = fake_quantize(x, work.formats.projection.act) - x
        errors[name] = float(((noise @ weight.T) ** 2).sum())
    return errors


def test_thresholds_pay_where_there_are_outliers():
    """One step means no scaling; a search must win clearly on norms with heavy channels."""
    plain, searched = make_work(), make_work()
    for work in (plain, searched):
        for layer in layers_of(work.model):
            layer.norm[::50] *= 40
            layer.mixer.in_proj.weight[:, ::50] /= 40
    suppress_outliers(plain, 1)
    suppress_outliers(searched, 12)
    shifted, scaled = output_errors(plain), output_errors(searched)
    assert all(scaled[name] < 0.5 * shifted[name] for name in scaled if "in_proj" in name)


def search_errors(x, weight, thresholds, formats):
    """Output error of layer 0's in_proj, wholly quantized, at each threshold."""
    errors = []
    for threshold in thresholds:
        scale = np.maximum(1, np.abs(x).max(0) / threshold)
        scaled, columns = (np.pad(v, [(0, 0), (0, 64)]) for v in (x / scale, weight * scale))
        packed = quantize_weights(columns, bits=4, group=128, rounding="rtn")
        got = fake_quantize(scaled, formats.projection.act) @ packed.dequantize().T
        errors.append(((got - x @ weight.T) ** 2).sum())
    return errors


def test_the_best_threshold_is_taken():
    work = make_work()
    _, x, weight = next(iter(inputs_and_weights(work)))
    x, weight = x - (x.max(0) + x.min(0)) / 2, weight.copy()
    largest = np.abs(x).max(0)
    thresholds = np.geomspace(largest.max(), np.median(largest), 6)
    errors = search_errors(x, weight, thresholds, work.formats)
    best = int(np.argmin(errors))
    assert 0 < best < 5  # neither end, or the test would say little
    suppress_outliers(work, 6)
    _, x, _ = next(iter(inputs_and_weights(work)))
    assert np.abs(x).max() == pytest.approx(thresholds[best], rel=1e-5)


def test_one_step_scales_nothing():
    work = make_work()
    before = [layer.norm.clone() for layer in layers_of(work.model)]
    suppress_outliers(work, 1)
    after = [layer.norm for layer in layers_of(work.model)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
