"""Sizes of a model: a sequence of layers, written as runs of equal ones, and read back."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from lightmamba.blocks import kinds
from lightmamba.blocks.mamba2.quantized import Sizes
from lightmamba.common.errors import InputError
from lightmamba.model.config import MOST, SHAPES, ModelConfig, mamba2_config
from tests.blocks.models import UNEQUAL
from tests.support.layers import resized, sizes_of

LIMITED = mamba2_config(d_model=32, n_layer=3, vocab_size=7, headdim=16, dt_limit=(0.001, math.inf))


@pytest.mark.parametrize("config", [*SHAPES.values(), UNEQUAL, LIMITED], ids=str)
def test_there_and_back_through_json(config):
    text = json.dumps(config.as_dict(), allow_nan=False)
    back = ModelConfig.from_dict(json.loads(text))
    assert back == config
    assert hash(back) == hash(config)


def test_equal_layers_in_a_row_are_written_once():
    assert [run["count"] for run in SHAPES["mamba2-130m"].as_dict()["layers"]] == [24]
    runs = replace(UNEQUAL, layers=UNEQUAL.layers[:1] * 2 + UNEQUAL.layers[1:]).as_dict()["layers"]
    assert [(run["kind"], run["count"]) for run in runs] == [
        ("mamba2", 2), ("mamba2", 1), ("mamba2", 1),
    ]  # fmt: skip
    assert [run["nheads"] for run in runs] == [4, 10, 4]


def test_limits_are_text():
    assert LIMITED.as_dict()["layers"][0]["dt_limit"] == ["0.001", "inf"]


def test_the_first_layers():
    assert UNEQUAL.first(2).layers == UNEQUAL.layers[:2]
    assert UNEQUAL.first(2).n_layer == 2
    assert UNEQUAL.kinds == ("mamba2",)


def run(values: dict[str, Any]) -> Any:
    """The second run of equal layers."""
    return values["layers"][1]


WRONG = [
    (lambda v: run(v).update(kind="lstm"),
     f"config.layers[1].kind is 'lstm', expected one of {', '.join(kinds())}"),
    (lambda v: run(v).update(kind=3), "config.layers[1].kind must be a text, not 3"),
    (lambda v: run(v).pop("kind"), "config.layers[1].kind is missing"),
    (lambda v: run(v).update(count=0),
     f"config.layers[1].count is 0, expected 1 to {MOST} layers in all"),
    (lambda v: run(v).update(count=-3), "config.layers[1].count is -3, expected 1 to"),
    (lambda v: run(v).update(count=MOST), f"count is {MOST}, expected 1 to {MOST} layers"),
    (lambda v: run(v).update(count=1.5), "config.layers[1].count must be a whole number, not 1.5"),
    (lambda v: run(v).pop("count"), "config.layers[1].count is missing"),
    (lambda v: run(v).pop("d_state"), "config.layers[1].d_state is missing"),
    (lambda v: run(v).update(heads=4), "config.layers[1] has no key heads"),
    (lambda v: run(v).update(nheads="4"), "layers[1].nheads must be a whole number, not '4'"),
    (lambda v: run(v).update(ngroups=3), "layers[1]: ngroups 3 does not divide"),
    (lambda v: run(v).update(dt_limit=["0"]), "dt_limit must be a list of 2, not [0.0]"),
    (lambda v: run(v).update(dt_limit=["0", "x"]), "dt_limit must be numbers, not ['0', 'x']"),
    (lambda v: run(v).update(dt_limit="0"), "config.layers[1].dt_limit must be a list, not '0'"),
    (lambda v: run(v).update(dt_limit=["0.2", "0.1"]), "dt_limit must be 0 <= low < high"),
    (lambda v: v["layers"].append(5), "config.layers[3] must be a table, not 5"),
    (lambda v: v.update(layers=[]), "config: a model has at least one layer"),
    (lambda v: v.update(layers={}), "config.layers must be a list, not {}"),
    (lambda v: v.pop("layers"), "config.layers is missing"),
    (lambda v: v.pop("vocab_size"), "config.vocab_size is missing"),
    (lambda v: v.update(n_layer=3), "[config] has no key n_layer"),
    (lambda v: v.update(d_model=0), "d_model must be a positive whole number, not 0"),
    (lambda v: v.update(tie_embeddings=1), "config.tie_embeddings must be true or false, not 1"),
]  # fmt: skip


@pytest.mark.parametrize(("lie", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_what_cannot_be_is_one_sentence(lie, sentence):
    values = json.loads(json.dumps(UNEQUAL.as_dict()))
    lie(values)
    with pytest.raises(InputError) as caught:
        ModelConfig.from_dict(values)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [None, 3, [], "text"])
def test_no_object_at_all(values):
    with pytest.raises(InputError, match=r"config must be a table, not .*"):
        ModelConfig.from_dict(values)


def test_equal_layers_of_mamba2_by_a_few_numbers():
    config = mamba2_config(d_model=48, n_layer=3, vocab_size=7, headdim=16, expand=3, eps=1e-3)
    assert config.layers == (Sizes(nheads=9, headdim=16, eps=1e-3),) * 3
    assert config.eps == 1e-3
    for wrong, sentence in (
        ({"n_layer": 0}, "n_layer must be a positive whole number, not 0"),
        ({"headdim": 36}, "headdim 36 does not divide d_inner 96; try headdim 32"),
        ({"expand": 1.5}, "expand must be a positive whole number, not 1.5"),
    ):
        with pytest.raises(ValueError, match=sentence):
            mamba2_config(**{"d_model": 48, "n_layer": 3, "vocab_size": 7} | wrong)


def test_a_model_of_these_tests_resized_is_as_it_was():
    for config in (*SHAPES.values(), LIMITED):
        assert resized(config) == config
    assert sizes_of(resized(LIMITED, ngroups=2)).ngroups == 2
