"""Schemes by name, and their accuracy, which is really measured."""

import pytest

from lightmamba.common.errors import InputError
from lightmamba.numerics.model_formats import Formats
from lightmamba.quantization import Calibration, Recipe
from lightmamba.study.explore.accuracy import measure, recipe
from lightmamba.study.explore.scheme import SCHEMES, Scheme
from tests.support.checkpoints import WORDED, write_state_spaces

FEW = Calibration(sequences=8, seqlen=128)


@pytest.mark.parametrize("name", [*SCHEMES, "w4a4-block16", "w4a8-group64", "w8a8-block8-group32"])
def test_a_recipe_makes_its_scheme(name):
    scheme = Scheme.parse(name)
    assert recipe(scheme).formats == scheme.formats
    if name in SCHEMES:
        assert recipe(scheme) == Recipe.load(name)


def test_measured_on_a_checkpoint(tmp_path):
    checkpoint = tmp_path / "ck"
    write_state_spaces(checkpoint, WORDED, tokenizer=True)
    seen = []
    found = {
        name: measure(
            Scheme.parse(name), checkpoint, tokens=600, calibration=FEW,
            progress=lambda *done: seen.append(done),
        )
        for name in ("w4a4", "w8a8", "w4a4-block16")
    }  # fmt: skip
    assert {one["tokens"] for one in found.values()} == {599}
    assert len({one["float_perplexity"] for one in found.values()}) == 1
    assert len({one["ratio"] for one in found.values()}) == 3
    for one in found.values():
        assert one["ratio"] == pytest.approx(one["perplexity"] / one["float_perplexity"])
        assert 0 < one["standard_error"] < 0.1
    assert 0 < found["w8a8"]["kl"] < found["w4a4-block16"]["kl"] < found["w4a4"]["kl"]
    assert seen[-1] == (100, 100)
    assert all(0 <= done <= total for done, total in seen)


def test_a_checkpoint_without_words(tmp_path):
    write_state_spaces(tmp_path / "ck", WORDED)
    with pytest.raises(InputError, match="has no tokenizer, so its accuracy cannot be measured"):
        measure(Scheme(), tmp_path / "ck", tokens=600)


@pytest.mark.parametrize(
    "name", [*SCHEMES, "w4a4-block16", "w8a8-group64", "w4a8-block64-group256"]
)
def test_names_read_back(name):
    scheme = Scheme.parse(name)
    assert scheme.name == name
    assert scheme.in_hardware == (name in SCHEMES)


def test_worked_scheme():
    found = Scheme.parse("w4a4-block16-group64").formats
    assert found == Formats(4, 4, block=16, group=64, head_block=16, hadamard=64)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("4bit", "there is no scheme '4bit'; write it like w4a4, w8a8"),
        ("w4a4-block", "there is no scheme 'w4a4-block'"),
        ("w2a8", "there are recipes for w4a4, w4a8, w8a8, not for w2a8"),
        ("w4a4-group0", "scheme w4a4-group0: group must be even, from 2 to 1024, not 0"),
        ("w4a4-block24", "scheme w4a4-block24: "),
    ],
)
def test_schemes_that_cannot_be(name, sentence):
    with pytest.raises(InputError, match=sentence):
        Scheme.parse(name)
