"""Schemes by name."""

import pytest

from lightmamba.common.errors import InputError
from lightmamba.numerics.model_formats import Formats
from lightmamba.study.explore.scheme import SCHEMES, Scheme


@pytest.mark.parametrize(
    "name", [*SCHEMES, "w4a4-block16", "w8a8-group64", "w4a8-block64-group256"]
)
def test_names_read_back(name):
    scheme = Scheme.parse(name)
    assert scheme.name == name
    assert scheme.in_hardware == (name in SCHEMES)


def test_worked():
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
def test_refusals(name, sentence):
    with pytest.raises(InputError, match=sentence):
        Scheme.parse(name)
