"""Kinds of layers are found by their folders, and each has what the rest asks of it."""

from dataclasses import is_dataclass
from pathlib import Path

import pytest

from lightmamba import blocks
from lightmamba.blocks import kind, kinds
from lightmamba.blocks.in_hardware import InHardware
from lightmamba.blocks.kind import Integers, Kernels

FOLDERS = {path.parent.name for path in Path(blocks.__file__).parent.glob("*/arithmetic.py")}


def test_every_folder_is_a_kind():
    assert set(kinds()) == FOLDERS
    assert list(kinds()) == sorted(kinds())
    assert "mamba2" in kinds()


@pytest.mark.parametrize("name", kinds())
def test_each_kind_has_what_the_rest_asks_of_it(name):
    found = kind(name)
    assert found.Sizes.kind == name
    assert is_dataclass(found.Sizes)
    assert isinstance(found.integers, Integers)
    assert found.has_kernels
    assert isinstance(found.kernels, Kernels)
    assert issubclass(found.Compiled, found.Arithmetic)
    assert found.has_hardware
    assert isinstance(found.hardware, InHardware)
    assert all(hasattr(found.floating, each) for each in ("Mixer", "lower"))


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=f"no layer kind 'lstm'; there are {', '.join(kinds())}$"):
        kind("lstm")


def test_a_kind_has_nothing_else():
    with pytest.raises(AttributeError, match="a layer kind has no Rotation"):
        kind("mamba2").Rotation  # noqa: B018
