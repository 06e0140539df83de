"""Single operations, compiled against reference, at the ends of their ranges.

Whole models seldom come there; saturated and shifted values must agree all the same.
"""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmamba import native
from lightmamba.blocks.mamba2.arithmetic import Scan
from lightmamba.blocks.mamba2.quantized import Constants, padded_state, ssm_step, x_block
from lightmamba.engine import State
from lightmamba.engine.native import Compiled, Native
from lightmamba.engine.reference import Reference
from lightmamba.model.qmodel import QuantizedModel
from lightmamba.numerics.formats import IntFormat
from lightmamba.numerics.model_formats import Formats
from tests.engine.models import CASES, case
from tests.engine.phases import Phases
from tests.support.builders import random_model, sizes
from tests.support.layers import mixer_of, sizes_of, with_mixer

Ints = NDArray[np.int64]
SEEDS = range(4)


def values(rng: np.random.Generator, shape: tuple[int, ...], bits: int, low: int = 0) -> Ints:
    """Integers from ``-2^(bits-1) + low`` to ``2^(bits-1) - 1``: the ends, zero, ones, any."""
    top = 1 << (bits - 1)
    ends = np.array([low - top, low - top + 1, -1, 0, 1, top - 2, top - 1])
    some = rng.integers(-top + low, top, shape) >> rng.integers(0, bits, shape)
    return np.where(rng.random(shape) < 0.4, rng.choice(ends, shape), some)


def same(ours: Any, theirs: Any) -> None:
    """Equal, whatever is nested in tuples."""
    if isinstance(ours, tuple):
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    else:
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(params=native.usable_isas())
def isa(request: pytest.FixtureRequest) -> str:
    """Every instruction set of this processor."""
    return str(request.param)


def operations(model: QuantizedModel, isa: str) -> tuple[Native, Reference]:
    """Both kinds."""
    return Native(model, 2, isa), Reference(model)


def arithmetics(
    model: QuantizedModel, isa: str, hadamard: int | None = None, **constants: Any
) -> tuple[Any, Any]:
    """The first layer between its projections, in both kinds, with other constants."""
    mixer = mixer_of(model.layers[0])
    changed, exponents = replace(Constants.of(mixer), **constants), mixer.exponents
    if hadamard is not None:
        exponents = replace(exponents, hadamard_shift=hadamard)
    layer = with_mixer(model.layers[0], exponents=exponents)
    with patch.object(Constants, "of", lambda _: changed):
        ours, theirs = operations(model, isa)
        compiled = ours.arithmetic(layer)
        assert isinstance(compiled, Compiled)
        return Phases(compiled), theirs.arithmetic(layer)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name", ["half-up", "w4a8-groups", "state-16", "half-up-12", "headdim-48", "headdim-128"]
)
def test_scan(name, seed, isa):
    """Frames from one that everything overflows to one that nothing reaches."""
    rng = np.random.default_rng(seed)
    model = case(name)
    c, f = sizes_of(model.config), model.formats
    lead, padded, block = (2, 5), padded_state(c, f), ssm_step(c, f).block
    bits, xs = f.state_bits, x_block(c).block
    x_width = -(-c.headdim // xs) * xs

    def small(*shape: int) -> Ints:
        return values(rng, (*lead, *shape), 8, low=1)

    def exponents(*shape: int) -> Ints:
        return rng.integers(0, 10, (*lead, *shape))

    for frame in (-30, -12, -4, 0, 6, 14, 30):
        scan = Scan(
            x=small(c.nheads, x_width), x_exp=exponents(c.nheads, x_width // xs),
            B=small(c.ngroups, padded), B_exp=exponents(c.ngroups, padded // block),
            C=small(c.ngroups, padded), C_exp=exponents(c.ngroups, padded // block),
            dt=rng.choice([1, 32768, 65535], (*lead, c.nheads)),
            dt_shift=rng.integers(11, 40, (*lead, c.nheads)),
            decay=rng.choice([0, 1, 1 << 23, (1 << 24) - 1], (*lead, c.nheads)),
        )  # fmt: skip
        results = []
        for arithmetic in arithmetics(model, isa, frame=frame):
            empty = State.empty(model, 2).layer(0)
            start = np.random.default_rng(seed)
            h = values(start, empty["h"].shape, bits, low=1).astype(empty["h"].dtype)
            h_exp = start.integers(0, 33 - bits, empty["h_exp"].shape).astype(np.uint8)
            results.append((arithmetic.scan(scan, h, h_exp, np.array([0, 1 << 33])), h, h_exp))
        same(*results)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["w4a4", "eight-groups"])
def test_rms(name, seed, isa):
    fast, slow = operations(case(name), isa)
    rng = np.random.default_rng(seed)
    for bits, shift in ((32, 8), (24, 0), (6, 0)):
        x = values(rng, (7, 256), bits)
        x[0] = 0
        for kind in (np.int64, np.int32):
            ours = fast.rms(x.astype(kind), shift, 8, 1 + seed * 10**6)
            same(ours, slow.rms(x, shift, 8, 1 + seed * 10**6))


@pytest.mark.parametrize("base", [0, 3, 12, 31])
@pytest.mark.parametrize("name", ["w4a4", "w8a8", "blocks-of-128"])
def test_quantize(name, base, isa):
    fast, slow = operations(case(name), isa)
    formats = CASES[name][1]
    rng = np.random.default_rng(base)
    x = values(rng, (9, 100), 32)
    x[3, 32:64] = 0
    for act in (formats.projection.act, formats.head.act):
        same(fast.quantize(act, x, 128, base), slow.quantize(act, x, 128, base))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name", ["w4a4", "w8a8", "w4a8-groups", "eight-groups", "blocks-of-128", "three-taps"]
)
def test_linear(name, seed, isa):
    """Largest weights, scales and inputs; more vectors than lie in memory at once."""
    fast, slow = operations(case(name), isa)
    model, rng = case(name), np.random.default_rng(seed)
    op, linear = model.formats.projection, model.layers[0].out_proj
    groups = model.config.layers[0].out_groups
    rows, channels = linear.shape
    bits = model.formats.weight_bits
    weights = values(rng, (rows, channels), bits).astype(np.int8)
    weights[0] = -(1 << (bits - 1))
    linear = linear.with_weights(
        weights, bits,
        code=rng.choice([0, 31, 224, 255], linear.code.shape).astype(np.uint8),
        acc_shift=int(rng.choice([0, 7, 20])),
    )  # fmt: skip
    vectors = 70
    q = values(rng, (vectors, channels), op.act.bits).astype(np.int8)
    q[0] = op.act.qmin
    code = rng.choice([0, 3, 60, 63], (vectors, channels // op.act.block)).astype(np.uint8)
    code[0] = 63
    rms = rng.choice([32768, 65535], (vectors, groups)), rng.integers(-7, 24, (vectors, groups))
    shift = np.asarray(rng.integers(7, 63, rows))
    for form in (IntFormat(16), IntFormat(32)):
        same(
            fast.linear(op, linear, q, code, rms, shift, form),
            slow.linear(op, linear, q, code, rms, shift, form),
        )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["w4a8-groups", "three-taps", "headdim-48"])
def test_front(name, seed, isa):
    """Rows of int16 as they may come, a state of int8, and biases and taps at their ends."""
    model = case(name)
    c, rng = sizes_of(model.config), np.random.default_rng(seed)
    rows = values(rng, (2, 6, c.in_rows), 16)
    state = values(rng, (2, c.d_conv - 1, c.conv_dim), 8).astype(np.int8)
    fast, slow = arithmetics(
        model, isa, conv_in_shift=rng.integers(0, 16, c.conv_dim),
        conv_weight=values(rng, (c.d_conv, c.conv_dim), 8),
        conv_bias=values(rng, (c.conv_dim,), 24),
        conv_out_shift=rng.integers(-24, 41, c.conv_dim),
        conv_silu_shift=rng.integers(-31, 63, c.conv_dim),
        dt_bias=values(rng, (c.nheads,), 16), A=rng.choice([0, 1, 32767], c.nheads),
        A_shift=rng.choice([-17, 0, 14, 47], c.nheads),
    )  # fmt: skip
    ours, theirs = fast.front(rows, state), slow.front(rows, state)
    same(tuple(vars(ours[0]).values()), tuple(vars(theirs[0]).values()))
    same(ours[1:3], theirs[1:3])
    assert dict(ours[3]) == dict(theirs[3])
    assert min(theirs[3].values()) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_gate_and_hadamard(seed, isa):
    rng = np.random.default_rng(seed)
    for hadamard, d_model in ((128, 72), (0, 192), (0, 64), (1, 72), (4, 72)):
        model = random_model(sizes(d_model=d_model, headdim=24 if d_model == 72 else 32),
                             Formats(hadamard=hadamard))  # fmt: skip
        fast, slow = arithmetics(
            model, isa, z_silu=int(rng.integers(-31, 63)), gate=int(rng.integers(-20, 40)),
            weighted=int(rng.integers(-20, 40)), hadamard=int(rng.integers(0, 3)),
            gate_weight=values(rng, (2 * d_model,), 16),
        )  # fmt: skip
        y, z = values(rng, (5, 2 * d_model), 24), values(rng, (5, 2 * d_model), 16)
        same(fast.gate(y, z), slow.gate(y, z))
        same(fast.hadamard(y), slow.hadamard(y))
