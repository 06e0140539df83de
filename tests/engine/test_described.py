"""Descriptions of a model for the kernels keep 32-bit sums below 2^31."""

import numpy as np
import pytest

from lightmamba import native
from lightmamba.blocks import kind
from lightmamba.engine import Engine
from lightmamba.engine.described import Description, span
from lightmamba.engine.native import Native
from lightmamba.engine.reference import Reference
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.linear import Projection
from tests.engine.models import case


@pytest.mark.parametrize("group", [32, 64, 128, 256, 1024])
@pytest.mark.parametrize(("bits", "act_bits"), [(4, 4), (4, 8), (8, 4), (8, 8)])
def test_sums_of_a_group_fit_within_the_span_and_no_further(bits, act_bits, group):
    """Every product at its end, every mantissa 7/4, every exponent the highest of the span."""
    op = Projection(BlockQuant(act_bits, 32), bits, group)
    largest = group * (1 << (bits - 1)) * (1 << (act_bits - 1)) * 7
    octaves = span(op)
    assert largest << octaves <= (1 << 31) - 1
    assert largest << (octaves + 1) > (1 << 31) - 1


def test_known_spans():
    """W4A4 never leaves 32 bits: its exponents are 0 to 15."""
    assert span(Projection(BlockQuant(4), 4)) == 15
    assert span(Projection(BlockQuant(8), 4)) == 11
    assert span(Projection(BlockQuant(8), 8)) == 7


def test_weights_are_repacked_once_and_given_to_every_call():
    model = case("w4a8-groups")
    described = Description(model, native.context(None, 1))
    op, linear = model.formats.projection, model.layers[0].in_proj
    first = described._weights(op, linear, 1)
    again = described._weights(op, linear, 1)
    assert all(a is b for a, b in zip(first, again, strict=True))
    rows, channels = linear.shape
    assert first[2]
    assert first[0].nbytes == -(-rows // 16) * 16 * channels // 2
    nibbles = np.stack([first[0] & 15, first[0] >> 4])
    assert np.count_nonzero(nibbles != 8) == np.count_nonzero(linear.q)


def test_a_model_with_a_kind_without_kernels_runs_on_numpy(monkeypatch):
    model = case("w4a8-groups")
    assert isinstance(Engine(model).ops, Native)
    monkeypatch.setitem(vars(kind(model.config.layers[0].kind)), "has_kernels", False)
    assert isinstance(Engine(model).ops, Reference)
