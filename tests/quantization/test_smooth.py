"""SmoothQuant and Outlier Suppression+: what they do to ranges and to errors."""

import copy

import numpy as np
import pytest
import torch

from lightmamba.model.causal_lm import CausalLM
from lightmamba.numerics.model_formats import Formats
from lightmamba.quantization.calibrate import InputTrace, run_layer
from lightmamba.quantization.passes import OutlierSuppression, Pass, SmoothQuant
from lightmamba.quantization.weights import quantize_weights
from lightmamba.quantization.work import fake_quantize
from tests.quantization.cases import SHAPES, rewritten, wild_model
from tests.support.builders import token_ids

CONFIG = SHAPES["192-two-groups"]
INPUTS = ("in_proj.input", "out_proj.input")


FORMATS = Formats(hadamard=1, act_bits=4, weight_bits=4, block=128)
IDS = token_ids(CONFIG, 4, 40, seed=3)


def rewrite(model: CausalLM, step: Pass) -> CausalLM:
    return rewritten(model, [step], IDS, 0, FORMATS)


def inputs_and_weights(model):
    """(layer and name, inputs (tokens, channels), weights) of every projection."""
    u = model.embedding(torch.from_numpy(IDS))
    for index, layer in enumerate(model.layers):
        trace = InputTrace(1)
        u = run_layer(layer, u, trace.see)
        for name, linear in zip(INPUTS, (layer.mixer.in_proj, layer.mixer.out_proj), strict=True):
            yield f"{index}.{name}", trace.inputs(name).numpy(), linear.weight.detach().numpy()


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_smoothing_splits_the_range_by_alpha(alpha):
    """max|x| becomes max|x|^(1 - a)·max|W|^(1 - a), and max|W| the a-th powers' product."""
    model = wild_model(CONFIG)
    before = [
        (np.abs(x).max(0), np.abs(weight).max(0)) for _, x, weight in inputs_and_weights(model)
    ]
    after = rewrite(model, SmoothQuant(alpha))
    for (seen, largest), (_, x, weight) in zip(before, inputs_and_weights(after), strict=True):
        rest = (seen * largest) ** (1 - alpha)
        np.testing.assert_allclose(np.abs(x).max(0), rest, rtol=1e-5)
        np.testing.assert_allclose(np.abs(weight).max(0), (seen * largest) ** alpha, rtol=1e-5)


def test_a_dead_channel_is_left_alone():
    model = wild_model(CONFIG)
    layer = model.layers[0]
    layer.norm[3] = 0.0
    layer.mixer.out_proj.weight[:, 5] = 0.0
    before = copy.deepcopy(layer.state_dict())
    after = rewrite(model, SmoothQuant(0.5)).layers[0].state_dict()
    assert all(bool(value.isfinite().all()) for value in after.values())
    column = after["mixer.in_proj.weight"][:, 3]
    assert torch.equal(column, before["mixer.in_proj.weight"][:, 3])
    assert after["mixer.norm"][5] == before["mixer.norm"][5]
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_shift_centres_every_channel_and_one_threshold_bounds_them():
    model = wild_model(CONFIG)
    before = {name: x for name, x, _ in inputs_and_weights(model)}
    for name, x, _ in inputs_and_weights(rewrite(model, OutlierSuppression(8))):
        np.testing.assert_allclose(x.max(0), -x.min(0), rtol=1e-4, atol=1e-5)
        half = (before[name].max(0) - before[name].min(0)) / 2
        got = np.abs(x).max(0)
        threshold = got.max()
        np.testing.assert_allclose(got, np.minimum(half, threshold), rtol=1e-4, atol=1e-5)


def output_errors(model):
    """Squared error of every projection, its input quantized and its weights as they are."""
    errors = {}
    for name, x, weight in inputs_and_weights(model):
        width = -x.shape[1] % 128 if name.endswith("in_proj.input") else 0
        x, weight = (np.pad(v, [(0, 0), (0, width)]) for v in (x, weight))
        noise = fake_quantize(x, FORMATS.projection.act) - x
        errors[name] = float(((noise @ weight.T) ** 2).sum())
    return errors


def test_thresholds_pay_where_there_are_outliers():
    """One step means no scaling; a search must win clearly on norms with heavy channels."""
    model = wild_model(CONFIG)
    for layer in model.layers:
        layer.norm[::50] *= 40
        layer.mixer.in_proj.weight[:, ::50] /= 40
    shifted, scaled = (
        output_errors(rewrite(model, OutlierSuppression(steps))) for steps in (1, 12)
    )
    assert all(scaled[name] < 0.5 * shifted[name] for name in scaled if "in_proj" in name)


def search_errors(x, weight, thresholds):
    """Output error of layer 0's in_proj, wholly quantized, at each threshold."""
    errors = []
    for threshold in thresholds:
        scale = np.maximum(1, np.abs(x).max(0) / threshold)
        scaled, columns = (np.pad(v, [(0, 0), (0, 64)]) for v in (x / scale, weight * scale))
        packed = quantize_weights(torch.from_numpy(columns), bits=4, group=128, rounding="rtn")
        real = packed.rows(slice(None), torch.from_numpy(columns)).numpy()
        got = fake_quantize(scaled, FORMATS.projection.act) @ real.T
        errors.append(((got - x @ weight.T) ** 2).sum())
    return errors


def test_the_best_threshold_is_taken():
    model = wild_model(CONFIG)
    _, x, weight = next(iter(inputs_and_weights(model)))
    x, weight = x - (x.max(0) + x.min(0)) / 2, weight.copy()
    largest = np.abs(x).max(0)
    thresholds = np.geomspace(largest.max(), np.median(largest), 6)
    errors = search_errors(x, weight, thresholds)
    best = int(np.argmin(errors))
    assert 0 < best < 5  # neither end, or the test would say little
    _, x, _ = next(iter(inputs_and_weights(rewrite(model, OutlierSuppression(6)))))
    assert np.abs(x).max() == pytest.approx(thresholds[best], rel=1e-5)


def test_one_step_scales_nothing():
    model = wild_model(CONFIG)
    after = rewrite(model, OutlierSuppression(1))
    for a, b in zip(model.layers, after.layers, strict=True):
        assert torch.equal(a.norm, b.norm)
