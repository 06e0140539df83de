"""Memory and plan for any number of tokens: worked by hand, and read back."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.blocks.mamba2.layout import conv_order, row_order, state_bytes
from lightmamba.blocks.mamba2.quantized import natural
from lightmamba.common.errors import InputError
from lightmamba.engine import Engine
from lightmamba.hardware.compiler import build, fitting, plan
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.compiler.states import state_bytes as artifact_bytes
from lightmamba.model.config import SHAPES, ModelConfig
from tests.compiler.cases import sizes
from tests.support.builders import W4A4, random_model, shipped
from tests.support.layers import sizes_of
from tests.support.machine import REGISTERS

PASSES = {
    "record_stride", "record_count", "state_heads", "head_stride", "state_head_beats",
    "head_words", "logits_stride", "b_channels", "d_state",
}  # fmt: skip


def planned(
    config: ModelConfig, name: str = "tiny", tokens: int = 4, **machine: Any
) -> tuple[ArchConfig, Target]:
    where = shipped(name, tokens=tokens, **machine)
    return plan(config, W4A4, where), where


def memory(config: ModelConfig, **machine: Any) -> Memory:
    arch, where = planned(config, **machine)
    return Memory(config, W4A4, arch, where)


def test_worked_sizes():
    """The demo shape on tiny with four tokens and words of two rows, counted by hand."""
    found = memory(SHAPES["demo"], state_elements=256)
    # 8 heads of 64 rows of 128 bytes, in beats of 32, and a beat of exponents before every 32.
    assert found.state_head_beats == 256 + 8
    assert found.state_beats == 6 * 8 * found.state_head_beats
    assert found.head_words == 32
    assert found.heads == 6 * 8
    assert found.each("conv_state") == 768  # a channel of 8 bytes is a word
    # A word for the four tokens of each channel of B and x, and one of dt for each token.
    assert found.each("record") == 128 + 8 * (4 + 64)
    registers = found.registers(found.regions())
    assert {name: registers[name] for name in PASSES} == {
        "record_stride": 672 * 8, "record_count": 672, "state_heads": 48, "head_stride": 264 * 32,
        "state_head_beats": 264, "head_words": 32, "logits_stride": 8192, "b_channels": 128,
        "d_state": 128,
    }  # fmt: skip
    region = {each.name: each for each in found.regions()}
    assert region["logits"].bytes == 4 * 8192
    assert region["record"].bytes == 6 * 672 * 8
    assert region["record"].file is None
    assert region["record"].channel == region["logits"].channel
    assert region["conv_state"].bytes == 6 * 768 * 8


def test_every_head_ends_with_a_whole_beat():
    """33 rows of 32 bytes on a port of 64: 17 beats and one of exponents, for each head."""
    config = sizes(d_model=33, headdim=33, d_state=20, vocab_size=3, n_layer=1)
    found = memory(config, name="u280", tokens=2)
    assert (found.state_head_beats, found.head_words) == (18, 33)
    assert (found.state_beats, found.heads) == (36, 2)
    # 66 + 2 · 20 channels: two tokens need four bytes of each
    assert found.each("conv_state") == 53
    assert found.each("record") == 20 + 2 * (2 + 33)
    assert found.stride("record") == 768  # 90 words, whole beats of 64 bytes
    registers = found.registers(found.regions())
    assert (registers["record_count"], registers["logits_stride"]) == (90, 64)


@pytest.mark.parametrize(("tokens", "words"), [(2, 1), (4, 1), (8, 2)])
def test_words_of_the_record(tokens: int, words: int):
    config = sizes(d_model=192, ngroups=2, headdim=16, d_state=16)
    arch, _ = planned(config, tokens=tokens)
    found = kind("mamba2").hardware.job_sizes(sizes_of(config), arch)["record_words"]
    assert found == words * 2 * 16 + 24 * (tokens + words * 16)


def test_one_token_has_no_record():
    found = memory(sizes(), tokens=1)
    regions = found.regions()
    assert "record" not in {each.name for each in regions}
    assert PASSES & set(found.registers(regions)) == {
        "state_heads", "head_stride", "state_head_beats", "head_words"
    }  # fmt: skip


def test_heads_are_a_capacity_where_they_wait():
    config = sizes(d_state=32, headdim=16)
    rows = memory(config, tokens=1, state_elements=32).arch
    heads = memory(config, tokens=1, state_elements=64).arch
    assert (rows.whole_heads, rows.head_rows) == (False, ArchConfig().head_rows)
    assert (heads.whole_heads, heads.head_rows) == (True, 16)


def test_registers_are_those_that_there_are():
    found = memory(sizes())
    known = {each.name for each in REGISTERS}
    assert set(found.registers(found.regions())) <= known


def test_regions_lie_apart():
    found = memory(sizes(d_state=48), tokens=8)
    end: dict[str, int] = {}
    for region in found.regions():
        assert region.address >= end.get(region.channel, 0)
        assert region.bytes > 0
        end[region.channel] = region.address + region.bytes


def read_state(data: bytes, beat: int, heads: int, rows: int, width: int) -> tuple[Any, Any]:
    """Elements (heads, rows, width) and exponents, out of beats, one after the other."""
    at, q, exp = 0, [], []
    for _ in range(heads):
        mine, codes, left = bytearray(), bytearray(), 0
        while len(mine) < rows * width:
            taken, at = data[at : at + beat], at + beat
            if left == 0:
                codes += taken
                left = 32
            else:
                mine += taken
                left -= 1
        blocks = rows * width // 32
        assert not any(mine[rows * width :])
        assert not any(codes[blocks:])
        q.append(np.frombuffer(bytes(mine[: rows * width]), np.int8).reshape(rows, width))
        exp.append(np.frombuffer(bytes(codes[:blocks]), np.uint8).reshape(rows, width // 32))
    assert at == len(data)
    return np.stack(q), np.stack(exp)


@pytest.mark.parametrize("window", [4, 8])
@pytest.mark.parametrize("beat", [16, 32, 64])
@pytest.mark.parametrize(
    "changes", [{}, {"headdim": 33, "d_model": 33, "d_state": 20, "d_conv": 3}, {"d_state": 80}]
)
def test_a_state_reads_back(changes: dict[str, Any], beat: int, window: int):
    config = sizes(**changes)
    c, rng = sizes_of(config), np.random.default_rng(beat)
    given = {
        name: rng.integers(0, 100, (1, *shape)).astype(dtype)
        for name, (dtype, shape) in kind("mamba2").integers.state(c, W4A4).items()
    }
    width = -(-c.d_state // 32) * 32
    arch = ArchConfig(padded_state=width, state_port_bits=8 * beat, tokens=8 if window == 8 else 1,
                      state_elements=32, head_rows=c.headdim)  # fmt: skip
    got = state_bytes(c, "reordered", given, arch)
    q, exp = read_state(got["state"].tobytes(), beat, c.nheads, c.headdim, width)
    h, h_exp = natural(given["h"])[0], natural(given["h_exp"])[0]
    np.testing.assert_array_equal(q[:, :, : h.shape[-1]], h)
    np.testing.assert_array_equal(exp[:, :, : h_exp.shape[-1]], h_exp)
    assert not q[:, :, h.shape[-1] :].any()
    conv = got["conv_state"].view(np.int8).reshape(c.conv_dim, window)
    channels = conv_order(c, row_order(c, "reordered"))
    missing = 4 - c.d_conv
    np.testing.assert_array_equal(conv[:, missing:3].T, given["conv"][0][:, channels])
    assert not conv[:, 3:].any()
    assert not conv[:, :missing].any()


@pytest.mark.parametrize("tokens", [1, 2, 4])
def test_states_fill_their_regions(tokens: int, tmp_path):
    """As many bytes as the regions hold, and those of a head where the registers say."""
    model = random_model(sizes(d_state=48, headdim=16))
    artifact = build(model, shipped(tokens=tokens), tmp_path / "build")
    engine = Engine(model)
    _, after = engine.forward(np.array([[3, 1, 4, 1, 5]]), engine.empty_state(1))
    layers = [after.layer(n) for n in range(model.config.n_layer)]
    found = artifact_bytes(artifact, after)
    for name, data in found.items():
        assert len(data) == artifact.region(name).bytes
    c = sizes_of(model.config)
    window = 8 if tokens == 4 else 4
    conv = found["conv_state"][: c.conv_dim * window].view(np.int8).reshape(c.conv_dim, window)
    channels = conv_order(c, row_order(c, "reordered"))
    np.testing.assert_array_equal(conv[:, :3].T, layers[0]["conv"][0][:, channels])
    stride = artifact.registers["head_stride"]
    assert isinstance(stride, int)
    head = found["state"][(8 + 3) * stride :][:stride]  # of the second layer's eight, the fourth
    q, _ = read_state(head.tobytes(), 32, 1, 16, 64)
    np.testing.assert_array_equal(q[0, :, :48], natural(layers[1]["h"])[0][3][:, :48])


@pytest.mark.parametrize(
    ("wanted", "d_state", "headdim", "got"),
    [
        (256, 128, 64, 256), (512, 128, 64, 512), (512, 128, 62, 256), (512, 128, 63, 128),
        (512, 16, 64, 512), (512, 16, 24, 256), (256, 192, 64, 64), (512, 256, 64, 512),
        (64, 32, 32, 64), (32, 128, 32, 32), (128, 96, 64, 32),
    ],
)  # fmt: skip
def test_the_widest_word_of_state_that_fits(wanted, d_state, headdim, got):
    """It divides a row, or holds as many rows as divide a head."""
    config = sizes(d_model=headdim, d_state=d_state, headdim=headdim)
    arch, where = planned(config, state_elements=wanted)
    assert arch.state_elements == got
    assert arch.state_fifo * got == where.machine.state_fifo * wanted  # as many elements
    assert headdim % arch.word_rows == 0


def test_a_head_is_a_capacity():
    larger, _ = planned(sizes(headdim=64))
    smaller, _ = planned(sizes(headdim=32))
    assert (larger.head_rows, smaller.head_rows) == (64, 32)
    larger = replace(larger, heads=smaller.heads)
    assert fitting(larger, smaller) is larger
    with pytest.raises(
        InputError, match=r"the hardware has head_rows 32, but the model needs 64, 32 more"
    ):
        fitting(replace(smaller, heads=9), larger)


def test_hardware_of_more_rows_at_once():
    """How many rows a word has is not told by a command, so it must be the same."""
    hardware = ArchConfig(tokens=4, state_elements=256)
    needed = replace(hardware, padded_state=64)
    sentence = (
        "the hardware takes 2 rows of the state at once, but the model needs 4, since its padded"
    )
    with pytest.raises(InputError, match=sentence):
        fitting(hardware, needed)
    one = replace(hardware, state_elements=64)
    assert fitting(one, replace(needed, state_elements=64)) is one


def test_several_tokens_are_for_the_reordered_rows():
    config = sizes()
    where = shipped(tokens=2, x_queue=512)
    assert plan(config, W4A4, where).tokens == 2
    sentence = "in the naive order x comes before dt, but the record of undecided tokens"
    with pytest.raises(InputError, match=sentence) as caught:
        plan(config, W4A4, where, "naive")
    assert "\n" not in str(caught.value)
    assert plan(config, W4A4, shipped(x_queue=512), "naive")


def test_the_queue_of_x_as_with_one_token():
    config = sizes(d_model=128, headdim=128)
    assert plan(config, W4A4, shipped(tokens=4, x_queue=64))
    with pytest.raises(InputError, match=re.escape("set x_queue = 64 in the [machine] table")):
        plan(config, W4A4, shipped(tokens=4, x_queue=63))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["tiny", "u280", "vck190", "vck190-paper", "kv260", "ecpix5"])
@pytest.mark.parametrize("tokens", [2, 4, 8])
def test_every_shape_on_every_target(name, shape, tokens):
    config = SHAPES[shape]
    arch, where = planned(config, name, tokens)
    assert arch.head_rows == sizes_of(config).headdim
    uncapped = tuple(replace(channel, capacity_mib=0) for channel in where.channels)
    found = Memory(config, W4A4, arch, replace(where, channels=uncapped))
    assert found.registers(found.regions())


def test_layers_that_differ_in_what_hardware_has_once():
    """B of a record is cut by one d_state for all layers."""
    wide = sizes(d_state=64, ngroups=1)
    two = replace(sizes_of(wide), d_state=32, ngroups=2)
    found = memory(replace(wide, layers=(wide.layers[0], two)))
    with pytest.raises(InputError, match="layers differ in d_state, 32 and 64, but the hardware"):
        found.registers(found.regions())
