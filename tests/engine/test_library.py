"""Kernels that were built from other sources are refused, not called."""

import pytest

from lightmamba.errors import InputError
from lightmamba.native import library, structs, usable_isas


@pytest.mark.parametrize("isa", usable_isas())
def test_the_structs_are_those_of_the_sources(isa):
    assert library._library(isa).lightmamba_layout() == structs.layout()


@pytest.mark.parametrize("isa", usable_isas())
def test_other_sources_are_refused(isa, monkeypatch):
    monkeypatch.setattr(library, "layout", lambda: structs.layout() + 1)
    with pytest.raises(InputError, match="built from other sources than this program; build them"):
        library._library.__wrapped__(isa)
