"""Layers of one kind and of different sizes in one model: file, engine, quantizer, refusals."""

from typing import Any

import numpy as np
import pytest
import torch

from lightmamba.common.errors import InputError
from lightmamba.engine import Digests, Engine, first_difference
from lightmamba.hardware.compiler import build
from lightmamba.hardware.estimate import estimate
from lightmamba.model.checkpoint import ModelWeights
from lightmamba.model.qmodel import QuantizedModel, load, save
from lightmamba.model.qmodel.synthetic import random_model
from lightmamba.numerics.model_formats import Formats
from lightmamba.quantization.driver import lower_model
from lightmamba.quantization.recipe import Recipe
from lightmamba.quantization.work import Work
from tests.blocks.models import UNEQUAL
from tests.engine.models import assert_same_state, run
from tests.qmodel.surgery import assert_same_model
from tests.support.builders import shipped, token_ids
from tests.support.checkpoints import float_model

TOKENS = 50
ERRORS = {"w4a4": 0.5, "w4a8": 0.2, "w8a8": 8e-3}  # of the squared logits, as of other models


@pytest.fixture(scope="module")
def model():
    return random_model(UNEQUAL, seed=4)


def digests(model: QuantizedModel, **options: Any) -> Digests:
    """Of one sequence, fed token by token."""
    engine, found = Engine(model, **options), Digests(keep=True)
    state = engine.empty_state(1)
    for token in token_ids(model.config, 1, TOKENS)[0]:
        engine.forward(np.array([[token]]), state, observe=found)
    return found


def test_a_file_and_back(model, tmp_path):
    save(model, tmp_path / "m.safetensors")
    back = load(tmp_path / "m.safetensors")
    assert back.config == UNEQUAL
    assert_same_model(back, model)


def test_kernels_and_reference_agree_in_every_integer(model):
    fast, slow = digests(model), digests(model, compiled=False)
    assert first_difference(fast, slow) is None
    assert dict(fast) == dict(slow)
    names = {name for _, name in fast}
    assert {"layer.0.ssm.h", "layer.1.ssm.h", "layer.2.ssm.h"} < names
    assert fast.arrays[0, "layer.0.ssm.h"].shape == (1, 4, 32, 16)
    assert fast.arrays[0, "layer.1.ssm.h"].shape == (1, 10, 16, 64)


def test_batches_in_whole_passes_agree_too(model):
    """Slots of a pass lie in states whose layers are of different widths."""
    ids = token_ids(model.config, 3, 40)
    fast, slow = Engine(model, threads=2), Engine(model, compiled=False)
    ours, state = fast.forward(ids, fast.empty_state(3), last_only=False)
    theirs, wanted = slow.forward(ids, slow.empty_state(3), last_only=False)
    np.testing.assert_array_equal(ours, theirs)
    assert_same_state(state, wanted)
    turned = state.take(np.array([2, 0, 1]))
    again, _ = fast.forward(ids[[2, 0, 1]], turned)
    wanted_logits, _ = slow.forward(ids, wanted)
    np.testing.assert_array_equal(again, wanted_logits[[2, 0, 1]])


def test_nothing_dies_out(model):
    """Equality above means little if the second layer were all zeros."""
    seen, _, _ = run(model, token_ids(model.config, 2, 12))
    for layer in range(3):
        for name in ("in_proj.q", "out_proj.q", "ssm.h"):
            assert len(np.unique(seen[f"layer.{layer}.{name}"])) > 5, (layer, name)


@pytest.fixture(scope="module")
def floats():
    return float_model(UNEQUAL, seed=1)


@pytest.mark.parametrize("recipe", ERRORS)
@torch.no_grad()
def test_quantized_from_floats(floats, recipe, tmp_path):
    """By a shipped recipe, from random floats to a file that the engine reads."""
    work = Work(ModelWeights(floats), token_ids(UNEQUAL, 8, 64, seed=2), seed=3)
    save(lower_model(work, Recipe.load(recipe), valid_vocab=61), tmp_path / "m.safetensors")
    model = load(tmp_path / "m.safetensors")
    assert model.config.layers == UNEQUAL.layers
    ids = token_ids(UNEQUAL, 4, 48, seed=9)
    wanted = floats(torch.from_numpy(ids))[0].double().numpy()
    fast, slow = Engine(model), Engine(model, compiled=False)
    got, _ = fast.logits(ids, fast.empty_state(4))
    np.testing.assert_array_equal(got, slow.logits(ids, slow.empty_state(4))[0])
    assert ((got - wanted) ** 2).sum() < ERRORS[recipe] * (wanted**2).sum()


def test_the_accelerator_refuses_them_in_one_sentence(model, tmp_path):
    refused = (
        lambda: build(model, shipped(), tmp_path / "b"),
        lambda: estimate(UNEQUAL, Formats(), shipped()),
    )
    for ask in refused:
        with pytest.raises(InputError) as caught:
            ask()
        assert str(caught.value) == (
            "layers differ in the size of a head's state, 1024 and 2048 elements, but the hardware "
            "takes equal ones; run the model on the engine"
        )
    assert list(tmp_path.iterdir()) == []
