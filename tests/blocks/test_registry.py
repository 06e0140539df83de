"""Kinds of layers are found by their folders, and each has what the rest asks of it."""

import re
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from lightmamba import blocks, native
from lightmamba.blocks import in_hardware, kinds
from lightmamba.blocks import kind as made
from lightmamba.blocks.base import Integers, Kernels, Kind
from lightmamba.hardware.estimate import resources

FOLDER = Path(blocks.__file__).parent


def test_every_folder_is_a_kind():
    assert set(kinds()) == {path.parent.name for path in FOLDER.glob("*/arithmetic.py")}
    assert list(kinds()) == sorted(kinds())
    assert "mamba2" in kinds()
    assert set(native.KINDS) == {path.parent.name for path in FOLDER.glob("*/compiled.py")}


@pytest.mark.parametrize("name", kinds())
def test_each_kind_has_what_the_rest_asks_of_it(name):
    found = made(name)
    assert found.Sizes.kind == name
    assert is_dataclass(found.Sizes)
    assert isinstance(found.integers, Integers)
    if name in native.KINDS:
        assert isinstance(found.kernels, Kernels)
    if found.has_hardware:
        assert isinstance(found.hardware, in_hardware.InHardware)
    assert all(hasattr(found.floating, each) for each in ("Mixer", "lower"))


def test_every_kind_has_kernels_and_hardware():
    assert set(native.KINDS) == set(kinds())
    assert all(made(name).has_kernels and made(name).has_hardware for name in kinds())


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=f"no layer kind 'lstm'; there are {', '.join(kinds())}$"):
        made("lstm")


def test_a_kind_without_hardware_has_no_cells(monkeypatch):
    bare = Kind("lightmamba.numerics")  # a package without the modules of a kind
    assert not bare.has_hardware
    monkeypatch.setattr(resources, "kind", lambda name: bare if name == "bare" else made(name))
    assert resources.groups(("bare", "mlp")) == resources.groups(("mlp",))
    with pytest.raises(ModuleNotFoundError, match=re.escape("lightmamba.numerics.hardware")):
        _ = bare.hardware
