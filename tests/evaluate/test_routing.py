"""Choices of experts by a model and its reference, and what other choices cost."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from lightmamba.blocks import kind
from lightmamba.cli import main
from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.evaluate import check_experts, compare_routing
from lightmamba.evaluate.routing import Choices
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.checkpoint import save_checkpoint
from lightmamba.model.qmodel import save
from lightmamba.model.qmodel.synthetic import random_model
from tests.quantization.cases import MIXED
from tests.quantization.test_experts import quantized
from tests.support.builders import token_ids
from tests.support.checkpoints import UNTIED, float_model

IDS = token_ids(MIXED["nemotron"], 1, 200, seed=4)[0]


def floats(change=0.0):
    """A float model whose router prefers the first experts by so much, and its routers."""
    model = float_model(MIXED["nemotron"], seed=1)
    found = FloatModel(model, model.config.vocab_size)
    with torch.no_grad():
        for mixer in found.routers.values():
            mixer.choice_bias[:2] += change
    return found, found.routers


def test_figures_of_a_layer():
    """Three tokens of two experts each: the same, one other, both others."""
    choices = Choices()
    scores = np.array([[8.0, 6, 1, 0], [3, 4, 9, 2], [5, 7, 1, 2]])
    experts, weights = np.array([[0, 1], [2, 1], [1, 0]]), np.array([[0.75, 0.25]] * 3)
    chosen = np.array([[0, 1], [2, 3], [2, 3]])
    for at in (slice(0, 1), slice(1, 3)):
        choices.add(scores[at], experts[at], weights[at], chosen[at])
    assert choices.plain() == {
        "equal": pytest.approx(1 / 3), "overlap": pytest.approx(1.5 / 3),
        "kept_weight": pytest.approx(1.75 / 3), "gap": 3.0, "gap_flipped": 2.0,
    }  # fmt: skip


def test_other_choices_alone():
    """All of the divergence is theirs, and none is left with the reference's choice."""
    reference, theirs = floats()
    model, mine = floats(change=0.3)
    found = compare_routing(model, reference, (mine, theirs), IDS, window=50)
    assert found.kl.mean > 0.01
    assert found.kl_forced.mean == pytest.approx(0, abs=1e-9)
    assert found.kl_choice.mean == pytest.approx(found.kl.mean)
    assert found.share == pytest.approx(1)
    plain = found.plain()
    assert 0 < plain["equal"] < plain["overlap"] < 1
    assert [each["name"] for each in plain["layers"]] == ["layer.1", "layer.3"]
    assert all(each["gap_flipped"] < each["gap"] for each in plain["layers"])
    assert all(mixer.follow is None for mixer in (*mine.values(), *theirs.values()))


def test_the_engine_takes_the_experts_of_the_floats():
    model, (reference, theirs) = quantized(MIXED["nemotron"]), floats()
    engine, taken = Engine(model), {}
    ids, wanted = IDS[None, :20], {}

    def note(index, scores, experts, weights):
        wanted[index] = np.sort(experts, -1)
        return experts

    def observe(name, value):
        if name.endswith("router.blocks"):
            taken[int(name.split(".")[1])] = value.reshape(20, -1)[:, 1:]

    for index, mixer in theirs.items():
        mixer.follow = partial(note, index)
    reference.forward(ids, reference.empty_state(1))
    with engine.routers() as routers:
        free, _ = engine.forward(ids, engine.empty_state(1))
        for index, router in routers.items():
            router.follow = partial(lambda index, *_: wanted[index], index)
        forced, _ = engine.forward(ids, engine.empty_state(1), observe=observe)
        for router in routers.values():
            router.follow = None
    for index, experts in wanted.items():
        np.testing.assert_array_equal(taken[index], experts)
    plain, _ = engine.forward(ids, engine.empty_state(1))
    np.testing.assert_array_equal(free, plain)
    assert (forced != plain).any()
    assert engine.kernels is not None


def test_a_call_that_the_engine_cuts():
    """More sequences than go through all layers together."""
    reference, theirs = floats()
    engine, ids = Engine(quantized(MIXED["nemotron"])), np.tile(IDS, 5)
    with engine.routers() as mine:
        found = [
            compare_routing(engine, reference, (mine, theirs), ids[:900], window=3, batch=batch)
            for batch in (300, 7)
        ]
    assert found[0].kl_forced.mean == pytest.approx(found[1].kl_forced.mean)
    assert [each.layers[1].tokens for each in found] == [600, 600]


def test_a_reference_of_other_experts_is_refused():
    one, other = MIXED["nemotron"].layers, MIXED["granite"].layers
    fewer: Any = partial(replace, top_k=1)
    check_experts(one, one)
    for layers in (other, one[:2], [fewer(x) if x.routed else x for x in one]):
        with pytest.raises(InputError, match="choose among other experts; compare it with the ch"):
            check_experts(one, layers)


def test_a_quantized_model():
    model, (reference, theirs) = quantized(MIXED["nemotron"], "w8a8"), floats()
    engine = Engine(model)
    with engine.routers() as mine:
        found = compare_routing(engine, reference, (mine, theirs), IDS, window=50).plain()
    assert 0 < found["kl_forced"] <= found["kl"]
    assert found["kept_weight"] > 0.95
    assert found["share_standard_error"] > 0


def test_the_command(tmp_path, capsys):
    """Prints figures by layer, and refuses what has no choices to compare."""
    file, (mamba, experts, *_) = tmp_path / "m.safetensors", MIXED["granite"].layers
    layers = mamba, experts, kind("attention").Sizes(4, 2, 16), experts
    config = replace(MIXED["granite"], layers=layers)
    save(quantized(config), file)
    save_checkpoint(float_model(config, seed=1), tmp_path / "float")
    save_checkpoint(float_model(UNTIED), tmp_path / "other")
    (tmp_path / "ids.txt").write_text(" ".join(map(str, IDS % config.vocab_size)))
    words = ["evaluate", str(file), "--ids", str(tmp_path / "ids.txt"), "--window", "50"]
    against = ["--against", str(tmp_path / "float")]
    assert main([*words, *against, "--routing", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["routing"]
    assert found["kl"] > 0
    assert 0.5 < found["overlap"] <= 1
    assert [each["name"] for each in found["layers"]] == ["layer.1", "layer.3"]
    refused = {
        "--routing compares with the float model; give --against CKPT too": words,
        "--routing needs a quantized file, but": [*words[:1], str(tmp_path / "float"), *words[2:],
                                                  *against],
        "choose among other experts": [*words, "--against", str(tmp_path / "other")],
    }  # fmt: skip
    for sentence, given in refused.items():
        assert main([*given, "--routing"]) == 2
        assert sentence in capsys.readouterr().err
    save(random_model(UNTIED), file, force=True)
    assert main([*words, *against, "--routing"]) == 2
    assert f"{file} has no experts; --routing compares which" in capsys.readouterr().err
