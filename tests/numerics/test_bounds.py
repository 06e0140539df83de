"""The worst case of every accumulator, from the shapes: nothing wraps, for any legal model.

Each bound is stated and then the extremes are run through the object itself and compared with
Python's integers, which cannot wrap. Legal shifts are those that ``qmodel.check`` lets through.
"""

import math
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightmamba.blocks.layer import out_channels
from lightmamba.blocks.mamba2.quantized import PRODUCT_SHIFT, SILU_SHIFT
from lightmamba.model.config import SHAPES, mamba2_config
from lightmamba.model.qmodel import check
from lightmamba.numerics.blocks import BlockQuant, Pow2Block
from lightmamba.numerics.conv import CausalConv
from lightmamba.numerics.formats import INT32
from lightmamba.numerics.gate import OnlineHadamard
from lightmamba.numerics.linear import Epilogue, RmsNorm
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import round_shift
from lightmamba.numerics.ssm import Discretize, SsmStep
from lightmamba.numerics.ssm_update import FrameUpdate
from tests.numerics.exact import clamp, half_up
from tests.support.layers import resized, sizes_of

LARGE = SHAPES["mamba2-2.7b"]
MODELS = SHAPES | {
    "8 groups": resized(LARGE, ngroups=8),
    "d_state 256": resized(LARGE, d_state=256),
    "headdim 128": resized(LARGE, headdim=128),
    "padded": mamba2_config(d_model=192, n_layer=1, vocab_size=64, ngroups=2, headdim=16),
    "the widest": mamba2_config(d_model=1 << 13, n_layer=1, vocab_size=64, headdim=128),
}
FORMATS = {
    "w4a4": Formats(),
    "w4a8": Formats(act_bits=8),
    "w8a8": Formats(weight_bits=8, act_bits=8, head_weight_bits=8),
    "w8a8 by 128": Formats(weight_bits=8, act_bits=8, block=128, head_weight_bits=8),
}
WIDTHS = {(4, 4): 51, (4, 8): 55, (8, 8): 59}  # weight, activation bits: over K of 5,120 at 2.7B
LOW24, LOW32 = -(1 << 23), -(1 << 31)
TOP_DT, TOP_DECAY = 65535, (1 << 24) - 1
Q = np.array  # of one value or a few


def projections(config, formats):
    """Every projection with its number of inputs."""
    yield formats.projection, formats.in_channels(config.d_model)
    yield formats.projection, out_channels(config.layers[0], formats)
    yield formats.head, formats.in_channels(config.d_model)


@pytest.mark.parametrize("formats", FORMATS)
def test_projections(formats):
    each = (pair for model in MODELS.values() for pair in projections(model, FORMATS[formats]))
    for op, channels in dict.fromkeys(each):
        act, top = op.act, 1 << (op.bits - 1)
        low = np.full((1, channels), act.qmin, np.int8)
        weight = np.full((2, channels), -top, np.int8)
        weight[1] = top - 1
        sums = op.block_sums(low, weight)
        assert np.abs(sums).max() == act.block * -act.qmin * top <= 1 << 24
        acc = op(
            low, np.full((1, channels // act.block), 63, np.uint8), weight,
            np.full((2, channels // op.group), 255, np.uint8),
        )  # fmt: skip
        unit = channels * act.qmin * (7 << 15) * (63 << 7)
        assert acc[0, 0].tolist() == [unit * -top, unit * (top - 1)]
        width = (unit * -top).bit_length() + 1
        assert width <= op.accumulator_bits(channels) <= 63
        if channels <= 5120:
            assert width <= WIDTHS[op.bits, act.bits]
        if channels == 5120:
            assert width == WIDTHS[op.bits, act.bits]
        for acc_shift in (0, 10, 62):
            wide = [clamp(half_up(int(v), acc_shift), -(1 << 39), (1 << 39) - 1) for v in acc[0, 0]]
            for shift in (0, 24, 31, 62, 85):
                rows, _ = Epilogue()(acc[0, 0], acc_shift, Q(65535), Q(shift), INT32)
                want = [half_up(v * 65535, min(shift, 62)) for v in wide]
                assert rows.tolist() == [clamp(v, INT32.min, INT32.max) for v in want]
                assert max(map(abs, want)) < 1 << 55


@pytest.mark.parametrize("model", MODELS)
def test_sums_of_squares(model):
    """int24 squares: up to 2^60 for 2^14 channels, and below 2^62 with the largest eps on top."""
    config, sizes = MODELS[model], sizes_of(MODELS[model])
    for channels, groups in ((config.d_model, 1), (sizes.group_dim, sizes.ngroups)):
        assert channels <= check.NORM_CHANNELS
        assert channels << 46 <= 1 << 60
        x = np.full((1, channels * groups), LOW32)
        for shift, eps in product((0, 8), check.EPS):  # saturated to int24, and just fitting it
            total = (channels << 46) + eps
            assert total < 1 << 62
            mantissa, j = RmsNorm()(x, shift, groups, eps)
            got = mantissa[0] * 2.0 ** (-23.0 - j[0])
            assert got == pytest.approx([1 / math.sqrt(total)] * groups, rel=6e-5)
    assert (check.NORM_CHANNELS << 46) + check.EPS[1] < 1 << 62


@pytest.mark.parametrize("op", [BlockQuant(4), BlockQuant(8), BlockQuant(8, qmax=119)])
@pytest.mark.parametrize("base", [0, 15, 31])
def test_activation_blocks(op, base):
    """x·R is at most 2^47 and the shift at most 15 + 31 + 16."""
    for x in (LOW32, -LOW32 - 1, -1, 1):
        q, code, *_ = op(np.full((1, 32), x), base)
        reciprocal = round((1 << 18) / (4 + int(code[0, 0]) % 4))
        assert abs(x) * reciprocal <= 1 << 47
        shift = int(code[0, 0]) // 4 + base + 16
        assert shift <= 62
        assert q[0].tolist() == [clamp(half_up(x * reciprocal, shift), op.qmin, op.qmax)] * 32


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("order", [128, 64, 2, 1, 0])
def test_hadamard(model, order):
    """Up to order 128 an int24 grows to at most 31 bits; a whole group is shifted back to 32."""
    sizes = sizes_of(MODELS[model])
    op = OnlineHadamard(order)
    size = op.size(sizes.group_dim)
    assert size <= 128 or order == 0
    least = max(0, math.ceil(math.log2(size)) - 8)  # what the quantizer shifts by
    x = np.full((1, sizes.group_dim), LOW24)
    for shift in (least, least + 1, 31):
        out, lost = op(x, 1, shift)
        assert lost == 0
        first = min(size, sizes.group_dim)  # Σ of one block; the padding is zero
        assert out[0, 0] == half_up(first * LOW24, shift) >= LOW32
    assert size << 23 < 1 << 62


def test_convolution():
    """int16 in, four products and a 24-bit bias: 25 bits, then up to 24 to the left: 48."""
    for weight, bias in ((-128, (1 << 23) - 1), (127, LOW24)):
        total = 4 * -128 * weight + bias
        assert abs(total) < 1 << 24
        for shift in (-24, 0, 8, 40):
            out, *_ = CausalConv()(
                np.full((1, 1, 1), -(1 << 15)), np.full((1, 3, 1), -128, np.int8), Q([0]),
                np.full((4, 1), weight), Q([bias]), Q([shift]),
            )  # fmt: skip
            assert out[0, 0, 0] == clamp(half_up(total, shift), -(1 << 15), (1 << 15) - 1)


def test_discretization():
    """A 16-bit dt times a 15-bit A, up to 30 to the left: 61 bits."""
    assert (TOP_DT * 32767) << 30 < 1 << 61
    x = np.arange(-32768, 32768)[:, None]
    for A, A_shift in product((0, 1, 1 << 14, 32767), (-128, -17, 15, 47, 127)):
        mantissa, shift, decay, _ = Discretize()(x, Q([0]), (-32768, 32767), Q([A]), Q([A_shift]))
        exponent = mantissa * A * 2.0 ** -(shift + A_shift)
        assert np.abs(decay - np.exp2(24 - np.minimum(exponent, 99))).max() <= 2.2


def stored(bits):
    """(largest magnitude, largest exponent) of a state element."""
    high = (1 << (bits - 1)) - 1
    _, e = Pow2Block(bits, 32)(np.full(32, (1 << 31) - 1))
    assert e.tolist() == [32 - bits]
    return high, 32 - bits


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("rounding", ["dither", "half_up"])
def test_the_state_in_a_frame(bits, rounding):
    """decay·h is below 2^39; dt·x·B below 2^30, and below 2^61 where it is shifted left by 31."""
    update = FrameUpdate(Pow2Block(bits, 32), rounding)
    high, exponent = stored(bits)
    assert (TOP_DECAY * high).bit_length() <= 39
    assert (TOP_DT * 127 * 127) << 31 < 1 << 61
    assert 24 - exponent >= 0
    frame = (1 << 31) - 1
    for sign in (1, -1):
        for shift in (-31, -2, -1, 0, 62):
            h, h_exp, lost = update(
                np.full((1, 1, 1, 32), sign * high), np.full((1, 1, 1, 1), exponent),
                Q([[TOP_DECAY]]), np.full((1, 1, 1), TOP_DT * 127), np.full((1, 1, 32), sign * 127),
                np.full((1, 1, 1, 1), shift), Q([1 << 48]),
            )  # fmt: skip
            wide = half_up(sign * TOP_DECAY * high, 24 - exponent)
            wide += half_up(sign * TOP_DT * 127 * 127, shift)
            v = clamp(wide, -frame, frame)
            assert lost == 32 * (v != wide)
            assert int(h_exp[0, 0, 0, 0]) == exponent
            assert np.abs(h).max() <= high
            assert np.abs((h << exponent) - v).max() <= 1 << exponent


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("d_state", sorted({sizes_of(m).d_state for m in MODELS.values()}))
def test_reading_the_state(bits, d_state):
    """|h·2^e| <= 2^31 and |C·2^e| < 2^16, so y is below 2^47·d_state: 56 bits at 256."""
    high, exponent = stored(bits)
    _, e = Pow2Block(8, 32)(np.full(32, -(1 << 15)))
    assert e.tolist() == [9]
    total = (high << exponent) * (127 << 9) * d_state
    assert total < d_state << 47 <= 1 << 55
    for sign in (1, -1):
        for shift in (0, 32, 40, 62):
            y, _ = SsmStep(bits).read(
                np.full((1, 1, 1, d_state), sign * high),
                np.full((1, 1, 1, d_state // 32), exponent),
                np.full((1, 1, d_state), 127), np.full((1, 1, d_state // 32), 9), shift,
            )  # fmt: skip
            assert y[0, 0, 0] == clamp(half_up(sign * total, shift), LOW24, -LOW24 - 1)


SHIFTS = {  # what is shifted: its largest magnitude, and the shifts that a legal model can have
    "accumulator": (1 << 62, (0, 62)),
    "40-bit sum times 1/rms": ((1 << 39) * 65535, (0, 62)),
    "residual to int24": (1 << 31, (8, 8)),
    "embedding": (128 * (63 << 7), (-40, 62)),
    "activation times reciprocal": (1 << 47, (16, 62)),
    "convolution input": (1 << 15, (0, 15)),
    "convolution sum": ((1 << 23) + (1 << 16), (-24, 40)),
    "input of the sigmoid": (1 << 15, SILU_SHIFT),
    "x·σ": ((1 << 15) * 65535, (16, 16)),
    "dt·A": (TOP_DT * 32767, (-30, 62)),
    "dt·x·B": (TOP_DT * 127 * 127, (-31, 62)),
    "decay·h": (TOP_DECAY * 32767, (0, 24)),
    "h·C": (1 << 55, (0, 62)),
    "D·x": ((1 << 15) * 127, (-31, 62)),
    "gate": (1 << 38, PRODUCT_SHIFT),
    "Hadamard": (1 << 37, (0, 31)),
    "unfused norm weight": (1 << 46, (-8, 62)),
    "unfused shift times rms": (1 << 61, (0, 62)),
}


@pytest.mark.parametrize("what", SHIFTS)
def test_no_shift_wraps(what):
    largest, (low, high) = SHIFTS[what]
    shifts = np.arange(low, high + 1)
    assert largest << max(0, -low) <= 1 << 62
    for x in (largest, -largest):
        assert_array_equal(round_shift(Q(x), shifts), [half_up(x, int(s)) for s in shifts])


def test_row_shifts_are_never_negative():
    """The smallest static shift takes the smallest j of a norm, -7."""
    assert check.ROW_SHIFT[0] - 7 >= 0
