"""Whole recipes on tiny models: float in, exact integers out, near the floats and repeatable."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint import ModelWeights
from lightmamba.model.qmodel import QuantizedModel, load, to_bytes
from lightmamba.numerics.model_formats import PROJECTIONS, Widths
from lightmamba.quantization.driver import lower_model
from lightmamba.quantization.passes import OnlineHadamard, QuantizeWeights
from lightmamba.quantization.recipe import Recipe, recipe_names
from lightmamba.quantization.work import Work
from tests.quantization.cases import SHAPES, logit_error
from tests.support.builders import token_ids
from tests.support.checkpoints import float_model
from tests.support.layers import mixer_of, sizes_of

MODELS = {name: SHAPES[name] for name in ("tied", "192-two-groups", "80-no-conv-bias")}
WIDTHS = ("w4a4", "w4a8", "w8a8")
W8A8_ERROR = 8e-3  # of the squared logits; the 8-bit state alone costs about 1e-3


def quantized(name, recipe, threads=1, seed=3) -> QuantizedModel:
    config = MODELS[name]
    ids = token_ids(config, 8, 64, seed=2)
    work = Work(ModelWeights(float_model(config, seed=1)), ids, seed=seed)
    return lower_model(work, recipe, valid_vocab=config.vocab_size, threads=threads)


@cache
def shipped(name: str, recipe: str) -> QuantizedModel:
    return quantized(name, Recipe.load(recipe))


@cache
def error_of(name: str, recipe: str) -> float:
    return logit_error(MODELS[name], shipped(name, recipe))


@pytest.mark.parametrize(
    ("name", "recipe"),
    [*((name, "w8a8") for name in MODELS),
     *(("192-two-groups", r) for r in recipe_names() if r.endswith("-w8a8"))],
)  # fmt: skip
def test_eight_bits_stay_near_the_floats(name, recipe):
    assert error_of(name, recipe) < W8A8_ERROR


@pytest.mark.parametrize(
    ("name", "method"),
    [*((name, "") for name in MODELS),
     *(("192-two-groups", method) for method in ("rtn-", "smoothquant-", "osplus-"))],
)  # fmt: skip
def test_more_bits_cost_less(name, method):
    w4a4, w4a8, w8a8 = (error_of(name, method + width) for width in WIDTHS)
    assert w8a8 < 0.2 * w4a8
    assert w4a8 < w4a4 < 0.5


@pytest.mark.parametrize("name", MODELS)
def test_layers_of_eight_bits(name, tmp_path):
    """They cost less than four bits, but not less than eight everywhere; the file has them."""
    some = tuple(Widths((0, 1), projection, 8, 8) for projection in PROJECTIONS)
    model = quantized(name, replace(Recipe.load("w4a4"), exceptions=some))
    assert [model.layers[0].in_proj.bits, model.layers[1].out_proj.bits] == [8, 8]
    assert max(int(layer.in_proj.q.max()) for layer in model.layers) <= 119
    (tmp_path / "m.st").write_bytes(to_bytes(model))
    assert load(tmp_path / "m.st").formats == model.formats
    assert logit_error(MODELS[name], model) < 0.5 * error_of(name, "w4a4")
    wide, plain = (x.origin["errors"]["layers.0.out_proj"] for x in (model, shipped(name, "w4a4")))
    assert wide < 0.1 * plain


@pytest.mark.parametrize("name", MODELS)
def test_the_recipe_beats_rounding(name):
    for width in ("w4a4", "w4a8") if name == "192-two-groups" else ("w4a4",):
        ours, plain = (error_of(name, m + width) for m in ("", "rtn-"))
        assert ours < 0.75 * plain


@pytest.mark.parametrize("name", MODELS)
def test_the_target_correction_pays_on_calibration(name):
    """The last layer and the head make up for what went wrong before them."""
    passes = tuple(
        replace(step, correct=False) if isinstance(step, QuantizeWeights) else step
        for step in Recipe.load("w4a4").passes
    )
    plain, ours = quantized(name, Recipe("plain", passes)), shipped(name, "w4a4")
    last = f"layers.{ours.config.n_layer - 1}.in_proj"
    for tensor in (last, "head"):
        assert ours.origin["errors"][tensor] < 0.97 * plain.origin["errors"][tensor]


@pytest.mark.parametrize(
    ("name", "group", "padded"),
    [("tied", 128, 128), ("192-two-groups", 128, 256), ("80-no-conv-bias", 32, 96)],
)
def test_the_papers_transform_of_a_whole_norm_group(name, group, padded):
    """Order 96 = 12·8 is not symmetric, so that a transform of the wrong side would show."""
    passes = tuple(
        replace(step, group=group) if isinstance(step, QuantizeWeights)
        else OnlineHadamard(0, "keep") if isinstance(step, OnlineHadamard) else step
        for step in Recipe.load("w8a8").passes
    )  # fmt: skip
    model = quantized(name, Recipe("whole", passes))
    assert model.formats.transform.size(sizes_of(model.config).group_dim) == padded
    assert logit_error(MODELS[name], model) < W8A8_ERROR


@pytest.mark.parametrize("method", ["", "rtn-", "smoothquant-", "osplus-"])
def test_only_the_default_recipes_fit_the_hardware(method):
    for width in WIDTHS:
        model = shipped("192-two-groups", method + width)
        assert model.plain == (method == "")
        linears = [x for layer in model.layers for x in (layer.in_proj, layer.out_proj)]
        assert all((x.input_shift is not None) == (method == "osplus-") for x in linears)
        assert all((x.bias is not None) == (method == "osplus-") for x in linears)


@pytest.mark.parametrize("recipe", recipe_names())
def test_lossy_passes_report_their_error_by_tensor(recipe):
    model = shipped("192-two-groups", recipe)
    errors = model.origin["errors"]
    names = [
        f"layers.{i}.{p}" for i in range(model.config.n_layer) for p in ("in_proj", "out_proj")
    ]
    assert sorted(errors) == sorted([*names, "head"])
    limit = 0.01 if recipe.endswith("w8a8") else 0.5
    assert all(0 < error < limit for error in errors.values())


@pytest.mark.parametrize("recipe", ["w4a4", "osplus-w4a8"])
def test_the_same_bytes_every_time_on_any_number_of_threads(recipe):
    first = to_bytes(shipped("80-no-conv-bias", recipe))
    assert to_bytes(quantized("80-no-conv-bias", Recipe.load(recipe), threads=2)) == first


def test_the_seed_turns_the_model_another_way():
    other = quantized("tied", Recipe.load("w8a8"), seed=4)
    assert (other.embedding.q != shipped("tied", "w8a8").embedding.q).any()


def with_outliers(where) -> CausalLM:
    """Random model with every tenth channel 30 times as heavy before or after the gated norm."""
    model = float_model(MODELS["80-no-conv-bias"], seed=1)
    for layer in model.layers:
        mixer, channels = layer.mixer, slice(0, sizes_of(model.config).d_inner, 10)
        if where == "before":  # large values that the norm's weight brings down
            mixer.conv1d.weight[channels] *= 30
            mixer.norm[channels] /= 30
        else:  # small values that it lifts, for columns that are small
            mixer.norm[channels] *= 30
            mixer.out_proj.weight[:, channels] /= 30
    return model


@pytest.mark.parametrize(("where", "better"), [("before", "keep"), ("after", "fold")])
def test_gate_weights_are_placed_where_the_error_is_less(where, better):
    errors, models = {}, {}
    for mode in ("keep", "fold", "measure"):
        passes = tuple(
            OnlineHadamard(128, mode) if isinstance(step, OnlineHadamard) else step
            for step in Recipe.load("w4a4").passes
        )
        model = with_outliers(where)
        work = Work(ModelWeights(model), token_ids(model.config, 4, 64, seed=2), seed=3)
        models[mode] = lower_model(work, Recipe(mode, passes), valid_vocab=61)
        errors[mode] = models[mode].origin["errors"]["layers.0.out_proj"]
    other = {"keep": "fold", "fold": "keep"}[better]
    assert errors["measure"] == errors[better] < 0.8 * errors[other]
    folded = {mode: m.origin["gate_weight_folded"] for mode, m in models.items()}
    assert folded == {"keep": [], "fold": [0, 1], "measure": [0, 1] if better == "fold" else []}
    for layer in models["fold"].layers:
        weight = mixer_of(layer).gate_weight
        assert (weight == weight[0]).all()


def test_sequences_of_any_length_can_calibrate():
    config = MODELS["tied"]
    work = Work(ModelWeights(float_model(config, seed=1)), token_ids(config, 3, 33, seed=2), seed=3)
    model = lower_model(work, Recipe.load("osplus-w8a8"), valid_vocab=config.vocab_size)
    np.testing.assert_array_equal(model.valid_vocab, config.vocab_size)
    assert logit_error(MODELS["tied"], model) < 2 * W8A8_ERROR
