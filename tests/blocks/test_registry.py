"""Kinds of layers are found by their folders, and each has what the rest asks of it."""

from dataclasses import is_dataclass
from pathlib import Path

import pytest

from lightmamba import blocks
from lightmamba.blocks import kinds, part

FOLDERS = {path.parent.name for path in Path(blocks.__file__).parent.glob("*/sizes.py")}
NEEDED = {
    "sizes": ("Sizes",),
    "quantized": ("Mixer",),
    "state": ("state", "bytes_per_token", "float_values", "float_chunk"),
    "arithmetic": ("Arithmetic",),
    "compiled": ("Compiled", "Struct", "WorkStruct", "describe", "fits", "observables", "work",
                 "transform_shift"),
    "synthetic": ("output", "random_mixer"),
    "floating": ("Mixer",),
    "lowering": ("lower",),
}  # fmt: skip


def test_every_folder_is_a_kind():
    assert set(kinds()) == FOLDERS
    assert list(kinds()) == sorted(kinds())
    assert "mamba2" in kinds()


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("module", NEEDED)
def test_each_kind_has_what_the_rest_asks_of_it(kind, module):
    found = part(kind, module)
    assert [name for name in NEEDED[module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("kind", kinds())
def test_sizes_say_their_kind(kind):
    sizes = part(kind, "sizes").Sizes
    assert sizes.kind == kind
    assert is_dataclass(sizes)


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=f"no layer kind 'lstm'; there are {', '.join(kinds())}$"):
        part("lstm", "sizes")


def test_what_a_kind_has_not_is_none():
    assert part("mamba2", "rotation") is None
    assert part("mamba2", "commands") is not None
