"""Bytes of memory: worked by hand, and taken apart again."""

from dataclasses import replace

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.blocks.mamba2.layout import conv_order, parameters, row_order
from lightmamba.hardware.compiler.layout import (
    beats,
    embedding_rows,
    lane_images,
)
from lightmamba.numerics.blocks import BlockQuant
from lightmamba.numerics.linear import Projection
from tests.compiler.cases import CASES, sizes
from tests.compiler.machine import Lane
from tests.support.builders import random_model
from tests.support.layers import mixer_of, sizes_of

RNG = np.random.default_rng(7)


TWO, ONE = ArchConfig(lanes=2), ArchConfig(lanes=1)
WIDE = Projection(BlockQuant(8), 8)  # on lanes of 4 bits


def test_bytes_of_two_lanes():
    """Three rows of 128: row r in lane r mod 2; the fourth is missing, so zero."""
    rows = [np.full(128, value, dtype=np.int8) for value in (1, -1, 2)]
    rows[2][:2] = 3, -4
    code = np.array([[0xA0], [0xA1], [0xA2]], dtype=np.uint8)
    got = lane_images(TWO, TWO.projection, np.stack(rows), code)
    assert got[0].tobytes() == (
        b"\xa0\xa2" + bytes(14) + b"\x11" * 64 + b"\xc3" + b"\x22" * 63
    )  # fmt: skip
    assert got[1].tobytes() == b"\xa1" + bytes(15) + b"\xff" * 64 + bytes(64)


def test_order_of_bytes():
    code = np.array([[1], [2], [3]], dtype=np.uint8)
    order, zeros = np.array([2, 0, 1]), np.zeros((3, 128), np.int8)
    got = lane_images(ONE, ONE.projection, zeros, code, order)
    assert got[0, :16].tobytes() == b"\x03\x01\x02" + bytes(13)


def test_scale_beats_come_before_every_run():
    """17 groups of 8 bits on a 128-bit port: 136 weight beats, so runs of 128 and of 8."""
    q = RNG.integers(-128, 128, (17, 128)).astype(np.int8)
    code = np.arange(100, 117, dtype=np.uint8)[:, None]
    arch = ArchConfig(lanes=1, weight_bits=8, multiplier_bits=8)
    got = lane_images(arch, arch.projection, q, code)
    lines = got.reshape(-1, 16)
    assert len(lines) == 138 == beats(arch, 17, 128, arch.projection)
    assert lines[0].tolist() == list(range(100, 116))
    assert lines[129].tolist() == [116] + 15 * [0]
    weights = np.delete(lines, [0, 129], axis=0)
    assert weights.tobytes() == q.tobytes()


def test_wide_weights_come_in_two_beats():
    """119 = 16·7 + 7, -128 = 16·-8, -9 = 16·-1 + 7: upper nibbles of a word, then lower ones."""
    q = np.zeros((1, 128), np.int8)
    q[0, :3], q[0, 32] = (119, -128, -9), 8  # a word has 32; 8 = 16·1 - 8
    lines = lane_images(ONE, WIDE, q, np.array([[5]], np.uint8)).reshape(-1, 16)
    assert len(lines) == 9 == beats(ONE, 1, 128, WIDE)
    begin = [line.tobytes().hex()[:4] for line in lines[:5]]
    assert begin == ["0500", "870f", "0707", "0100", "0800"]


def test_two_beats_of_each_word_between_scale_beats():
    q = RNG.integers(-128, 120, (17, 128)).astype(np.int8)
    lines = lane_images(ONE, WIDE, q, np.arange(100, 117, dtype=np.uint8)[:, None]).reshape(-1, 16)
    assert len(lines) == 17 * 8 + 2 == beats(ONE, 17, 128, WIDE)
    assert lines[129].tolist() == [116] + 15 * [0]


def test_a_weight_that_two_nibbles_do_not_hold():
    with pytest.raises(ValueError, match="120 is more than two signed nibbles hold, which is 119"):
        lane_images(ONE, WIDE, np.full((1, 128), 120, np.int8), np.zeros((1, 1), np.uint8))


@pytest.mark.parametrize("port_bits", [128, 256, 512])
@pytest.mark.parametrize("weight_bits", [4, 8])
@pytest.mark.parametrize(("lanes", "rows", "parts"), [(1, 9, 2), (4, 61, 3), (7, 7, 1), (32, 5, 1)])
def test_images_read_back(port_bits, weight_bits, lanes, rows, parts):
    arch = ArchConfig(lanes=lanes, port_bits=port_bits, weight_bits=weight_bits)
    channels, top = 256 * parts, 1 << (weight_bits - 1)
    q = RNG.integers(-top, top, (rows, channels)).astype(np.int8)
    code = RNG.integers(0, 256, (rows, channels // 128)).astype(np.uint8)
    order = RNG.permutation(rows)
    images = lane_images(arch, arch.projection, q, code, order)
    assert images.shape == (lanes, beats(arch, rows, channels, arch.projection) * port_bits // 8)
    slots = -(-rows // lanes)
    for n, image in enumerate(images):
        lane = Lane(image.tobytes(), port_bits, weight_bits)
        found, codes = lane.job(slots, 256 // arch.products, parts)
        assert lane.at == len(image)
        for slot in range(slots):
            place = slot * lanes + n
            if place < rows:
                np.testing.assert_array_equal(found[slot], q[order[place]])
                np.testing.assert_array_equal(codes[slot], code[order[place]])
            else:
                assert not found[slot].any()
                assert not codes[slot].any()


def test_rows_in_order():
    """Two heads of two: dt, B, C, x of the first, x and z by turns, z of the second."""
    c = sizes_of(sizes(d_model=2, headdim=2, d_state=1, vocab_size=5))
    # z 0-3, x 4-7, B 8, C 9, dt 10-11
    assert row_order(c, "reordered").tolist() == [10, 11, 8, 9, 4, 5, 6, 0, 7, 1, 2, 3]
    assert row_order(c, "naive").tolist() == list(range(12))
    assert conv_order(c, row_order(c, "reordered")).tolist() == [4, 5, 0, 1, 2, 3]
    assert conv_order(c, row_order(c, "naive")).tolist() == list(range(6))


def mixer_with(d_model=2):
    config = sizes(d_model=d_model, headdim=2, d_state=3, vocab_size=5, d_conv=3)
    return mixer_of(random_model(config).layers[0])


@pytest.fixture(scope="module")
def mixer():
    return mixer_with()


def words(mixer, stream, rows=None):
    """Words of one stream of parameters, with the rows of in_proj in this order."""
    order = np.arange(mixer.sizes.in_rows) if rows is None else rows
    return [f"{word:016x}" for word in parameters(mixer, order)[stream]]


def test_words_of_the_convolution(mixer):
    """Ten channels, the last two first: a header of eight shifts, eight words, a header of two."""
    mixer = replace(
        mixer,
        conv_weight=np.array([range(1, 11), range(-10, 0), range(11, 21)], dtype=np.int8),
        conv_bias=np.array([-1, *range(9)], dtype=np.int32),
        conv_in_shift=np.arange(6, 16, dtype=np.int8),
        conv_out_shift=np.arange(-5, 5, dtype=np.int8),
    )
    channels = np.array([8, 9, 0, 1, 2, 3, 4, 5, 6, 7])
    first = mixer.sizes.d_inner  # of z, which comes before those of the convolution
    found = words(mixer, "conv_params", first + channels)
    assert len(found) == 12
    assert found[0] == "00fffefdfcfb0403"  # shifts of 8, 9, 0 ... 5: 3, 4, -5 ... 0
    assert found[1] == "0e00000713fe0900"  # channel 8: in_shift 14, bias 7, taps 0, 9, -2, 19
    assert found[3] == "06ffffff0bf60100"  # channel 0: in_shift 6, bias -1, taps 0, 1, -10, 11
    assert found[9] == "0000000000000201"  # shifts of 6 and 7: 1, 2
    assert found[11] == "0d00000612fd0800"


def test_words_of_the_heads(mixer):
    mixer = replace(
        mixer,
        dt_bias=np.array([-2, 3], dtype=np.int16),
        A=np.array([0x1234, 1], dtype=np.int16),
        A_shift=np.array([-1, 5], dtype=np.int8),
        D=np.array([-3, 0x4567], dtype=np.int16),
    )
    assert words(mixer, "head_params") == ["00fffdff1234fffe", "0045670500010003"]


def test_words_of_the_gate():
    weight = np.array([1, -1, 3, 4, 5, 6], dtype=np.int16)
    mixer = replace(mixer_with(d_model=3), gate_weight=weight)
    assert words(mixer, "gate_params") == ["00040003ffff0001", "0000000000060005"]
    last = words(mixer, "gate_params", np.array([9, 5, 7, 4, 0, 1, 2, 3]))  # others in between
    assert last == ["ffff000100050006", "0000000000040003"]


def test_rows_of_the_embedding():
    q = RNG.integers(-128, 128, (2, 256)).astype(np.int8)
    code = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    got = embedding_rows(q, code, 288)
    assert got.shape == (2, 288)
    for row in range(2):
        first, second = q[row, :128].tobytes(), q[row, 128:].tobytes()
        head = [bytes([c]) + bytes(7) for c in code[row].tolist()]
        assert got[row].tobytes() == head[0] + first + head[1] + second + bytes(16)


@pytest.mark.parametrize("name", CASES)
def test_every_row_comes_once(name):
    config = sizes_of(CASES[name][0])
    for order in ("reordered", "naive"):
        assert sorted(row_order(config, order)) == list(range(config.in_rows))
