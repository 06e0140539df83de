"""Choices of experts by a model and its reference, and what other choices cost."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lightmamba.cli import main
from lightmamba.engine import Engine
from lightmamba.evaluate import compare_routing
from lightmamba.evaluate.routing import Choices, Led
from lightmamba.model.causal_lm import FloatModel
from lightmamba.model.qmodel import save
from tests.quantization.cases import MIXED
from tests.quantization.test_experts import quantized
from tests.support.builders import token_ids
from tests.support.checkpoints import float_model

IDS = token_ids(MIXED["nemotron"], 1, 200, seed=4)[0]


def floats(change=0.0):
    """A float model whose router prefers the first experts by so much, and its routers."""
    model = float_model(MIXED["nemotron"], seed=1)
    layers = {i: layer.mixer for i, layer in enumerate(model.layers) if layer.mixer.sizes.routed}
    with torch.no_grad():
        for mixer in layers.values():
            mixer.choice_bias[:2] += change
    return FloatModel(model, model.config.vocab_size), layers


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
    assert found.kl > 0.01
    assert found.kl_forced == pytest.approx(0, abs=1e-9)
    assert found.kl_choice == pytest.approx(found.kl)
    assert found.share == pytest.approx(1)
    plain = found.plain()
    assert 0 < plain["equal"] < plain["overlap"] < 1
    assert [each["name"] for each in plain["layers"]] == ["layer.1", "layer.3"]
    assert all(each["gap_flipped"] < each["gap"] for each in plain["layers"])
    assert all(mixer.follow is None for mixer in (*mine.values(), *theirs.values()))


def test_the_engine_takes_the_experts_of_the_floats():
    model, (reference, theirs) = quantized(MIXED["nemotron"]), floats()
    engine = Engine(model)
    wanted, taken = [], {}
    for forced in (False, True):
        routers, seen = engine.routers(), dict[int, list[int]]()
        for index, router in routers.items():
            router.arithmetic.block = _noting(router, index, seen)
        led = Led(reference, engine, theirs, routers, forced=forced)
        logits, _ = led.forward(IDS[None, :20], led.empty_state(1), last_only=False)
        wanted.append(logits)
        taken[forced] = seen
    assert (wanted[0] != wanted[1]).any()
    assert taken[False] != taken[True]
    plain, _ = Engine(model).forward(IDS[None, :20], engine.empty_state(1), last_only=False)
    np.testing.assert_array_equal(wanted[0], plain)


def _noting(router, index, seen):
    """How often a block of a layer is computed, for how many tokens."""
    own = type(router.arithmetic).block

    def block(rows, weight, lost):
        seen.setdefault(index, []).append(len(rows))
        return own(router.arithmetic, rows, weight, lost)

    return block


def test_a_quantized_model(tmp_path, capsys):
    model, (reference, theirs) = quantized(MIXED["nemotron"], "w8a8"), floats()
    engine = Engine(model)
    found = compare_routing(engine, reference, (engine.routers(), theirs), IDS, window=50)
    assert 0 < found.kl_forced <= found.kl
    assert found.plain()["kept_weight"] > 0.95
    save(replace(model, tokenizer=None), tmp_path / "m.safetensors")
    (tmp_path / "ids.txt").write_text(" ".join(map(str, IDS)))
    words = ["evaluate", str(tmp_path / "m.safetensors"), "--ids", str(tmp_path / "ids.txt")]
    assert main([*words, "--routing"]) == 2
    said = capsys.readouterr().err
    assert "--routing compares with the float model; give --against CKPT too" in said
