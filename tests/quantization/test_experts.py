"""Layers of experts by whole recipes: near the floats, repeatable, also without tokens."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.model.checkpoint import ModelWeights
from lightmamba.model.qmodel import to_bytes
from lightmamba.quantization import experts
from lightmamba.quantization.budget import Budget
from lightmamba.quantization.driver import lower_model
from lightmamba.quantization.recipe import Recipe
from lightmamba.quantization.work import Work
from tests.quantization.cases import MIXED, float_logits, logit_error
from tests.quantization.test_journal import quick
from tests.support.builders import token_ids
from tests.support.checkpoints import float_model

LARGEST = {"w8a8": 0.015, "w4a8": 0.1, "w4a4": 0.15}  # of the squared logits


def quantized(config, recipe="w4a4", change=lambda model: None):
    model = float_model(config, seed=1)
    change(model)
    ids = token_ids(config, 8, 64, seed=2)
    work = Work(ModelWeights(model), ids, seed=3)
    return lower_model(work, quick(recipe), valid_vocab=config.vocab_size)


@pytest.mark.parametrize("name", MIXED)
def test_logits_are_near_the_floats(name):
    errors = {
        recipe: logit_error(MIXED[name], quantized(MIXED[name], recipe)) for recipe in LARGEST
    }
    assert all(errors[recipe] < most for recipe, most in LARGEST.items()), errors
    assert errors["w8a8"] < errors["w4a8"] < errors["w4a4"]


def test_the_same_again():
    config = MIXED["granite"]
    assert to_bytes(quantized(config)) == to_bytes(quantized(config))


def test_a_block_that_no_token_takes():
    """A block without tokens is quantized by the moments of all tokens."""
    config = MIXED["nemotron"]

    def avoided(model):
        for layer in (model.layers[1], model.layers[3]):
            layer.mixer.choice_bias.data[:2] = -100

    model = quantized(config, change=avoided)
    ids, _ = float_logits(MIXED["nemotron"])
    engine = Engine(model)
    taken: set[int] = set()
    for each in ids:
        engine.forward(
            each[None], engine.empty_state(1),
            observe=lambda n, v: taken.update(v.ravel()) if n.endswith("router.blocks") else None,
        )  # fmt: skip
    assert taken == {2, 3, 4, 5}
    for index in (1, 3):
        linear = model.layers[index].in_proj.part(slice(0, 2 * 40))
        assert np.abs(linear.q).mean() > 1
        mixer = replace(
            model.layers[index].mixer, choice_bias=quantized(config).layers[index].mixer.choice_bias
        )
        layers = list(model.layers)
        layers[index] = replace(layers[index], mixer=mixer)
        model = replace(model, layers=tuple(layers))
    error = logit_error(MIXED["nemotron"], model)
    assert error < LARGEST["w4a4"], "as good as those that had tokens"


def test_the_last_shared_block_makes_up_for_the_others(monkeypatch):
    config = MIXED["granite"]
    with_it = logit_error(config, quantized(config))
    monkeypatch.setattr(experts._Experts, "_take_off", lambda *given: None)
    assert with_it < logit_error(config, quantized(config))


def test_a_bias_that_has_no_integer():
    def large(model):
        model.layers[1].mixer.choice_bias.data[1] = 130

    with pytest.raises(InputError, match="a bias of the choice of experts is 130, expected -127 t"):
        quantized(MIXED["nemotron"], change=large)


@pytest.mark.parametrize("name", ["rtn-w4a4", "smoothquant-w4a8", "osplus-w8a8"])
def test_recipes_that_are_not_for_experts(name):
    with pytest.raises(InputError, match=f"the recipe {name} is not for models with experts: it d"):
        quantized(MIXED["granite"], name)


def test_a_budget_is_refused():
    with pytest.raises(InputError, match="--budget is not for models with experts; name exception"):
        Budget(weights=4.3).check(Recipe.load("w4a4"), MIXED["granite"])
