"""Where everything lies, and what the registers say of it."""

import re
from dataclasses import replace

import pytest

from lightmamba.arch.place import Place
from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler import plan
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.model.config import HYBRIDS, SHAPES, ModelConfig, mamba2_config
from tests.compiler.cases import CASES, sizes
from tests.support.builders import W4A4, shipped


def small_hybrid() -> ModelConfig:
    """One Mamba2 layer, and one of attention: two heads of keys of 32 channels."""
    mamba = mamba2_config(64, 1, 53, d_state=16, headdim=16)
    return replace(mamba, layers=(*mamba.layers, kind("attention").Sizes(4, 2, 32)))


def memory(name: str) -> Memory:
    config, formats, where = CASES[name]
    return Memory(config, formats, plan(config, formats, where), where)


def test_worked_sizes():
    """The demo shape on tiny, counted by hand."""
    config, tiny = SHAPES["demo"], shipped()
    found = Memory(config, W4A4, plan(config, W4A4, tiny), tiny)
    # in_proj: 1,288 rows of 256 on 4 lanes of 32; out_proj: 256 of 512; the head: 2,048 of 256.
    per_layer = (322 * 8 + 41) + (64 * 16 + 16)
    assert found.stored_beats == 6 * per_layer
    assert found.head_beats == 512 * 8 + 64
    # 8 heads of 64 rows of 128 bytes in beats of 32, and a beat of exponents before every 32.
    assert found.state_head_beats == 256 + 8
    assert (found.heads, found.state_beats) == (6 * 8, 6 * 8 * 264)
    assert found.head_words == 64 * 2
    assert found.each("conv_state") == 384  # 512 + 2 · 128 channels, two to a word
    assert found.stride("embedding") == 272  # 2 groups of 17 words, whole beats of 16 bytes
    registers = found.registers(found.regions())
    assert registers["conv_params_words"] == 6 * (768 + 96)
    assert registers["head_params_words"] == 6 * 8
    assert registers["gate_params_words"] == 6 * 128
    assert registers["embedding_words"] == 34
    assert registers["head_stride"] == 264 * 32
    assert registers["logits_words"] == 1024
    assert registers["lane_base"] == [Place(f"lane{n}", f"lane{n}") for n in range(4)]


def test_a_last_beat_may_be_half_full():
    """33 rows of 32 bytes on a port of 64: 17 beats, and one of exponents."""
    config = mamba2_config(d_model=33, n_layer=1, vocab_size=3, d_state=20, headdim=33, expand=1)
    u280 = shipped("u280")
    found = Memory(config, W4A4, plan(config, W4A4, u280), u280)
    assert (found.state_beats, found.head_words) == (18, 33)
    assert found.words["conv_params"] == (33 + 40 + 10,)
    assert found.words["gate_params"] == (9,)
    assert found.logits_words == 2
    assert found.stride("conv_state") == 320  # 37 words, whole beats of 64 bytes


@pytest.mark.parametrize("name", CASES)
def test_regions_lie_apart_on_their_channels(name):
    found = memory(name)
    regions, where = found.regions(), found.target
    ports = {f"lane{n}": f"lane{n}" for n in range(found.arch.lanes)}
    copies = {"state": 0, "state_other": -1}
    end: dict[str, int] = {}
    for region in regions:
        port = "memory" if found.arch.shared_port else ports.get(region.name, "aux")
        if region.name in copies:
            port = "memory" if found.arch.shared_port else "state_read"
        assert region.channel == where.channels_of(port)[copies.get(region.name, 0)].name
        assert region.address % 4096 == 0
        assert region.address >= end.get(region.channel, 0)
        end[region.channel] = region.address + region.bytes
        bits = getattr(found.arch, f"{'state' if region.name in copies else 'aux'}_port_bits")
        if not region.name.startswith("lane"):
            assert region.bytes % (bits // 8) == 0
    assert min(region.address for region in regions) == 0
    names = {region.name for region in regions if region.file is None}
    both = len(where.channels_of("memory" if found.arch.shared_port else "state_read")) == 2
    assert names == {"state", "conv_state", "logits"} | ({"state_other"} if both else set())


@pytest.mark.parametrize(
    ("where", "context", "sequences"),
    [("ulx3s", 1024, 1024), ("ulx3s", 12_288, 100), ("kv260", 1024, 4096)],
)
def test_advice_on_what_fits(where, context, sequences):
    """The longest sequences, and the most, that memory has room for; one more of either fails."""
    config = HYBRIDS["granite-4.0-h-350m"] if where == "kv260" else small_hybrid()
    target = shipped(where)
    arch = plan(config, W4A4, target, context=context)
    full = Memory(config, W4A4, arch, target, sequences)

    def with_context(tokens: int) -> Memory:
        return replace(full, arch=plan(config, W4A4, target, context=tokens))

    with pytest.raises(InputError) as refused:
        full.regions()
    found = re.search(r"compile with --context (\d+) or --sequences (\d+)$", str(refused.value))
    assert found is not None, refused.value
    tokens, count = map(int, found.groups())
    assert with_context(tokens).regions()
    assert replace(full, sequences=count).regions()
    for more in (with_context(tokens + 1), replace(full, sequences=count + 1)):
        with pytest.raises(InputError, match="would hold"):
            more.regions()


def test_advice_leaves_out_what_cannot_help():
    config, ulx3s = small_hybrid(), shipped("ulx3s")
    arch = plan(config, W4A4, ulx3s, context=1024)
    with pytest.raises(InputError, match=r"more memory, or compile with --sequences \d+$"):
        Memory(config, W4A4, arch, ulx3s, 4096).regions()
    large = replace(config, vocab_size=1 << 16)  # 2 MiB of head
    small = replace(ulx3s, channels=(replace(ulx3s.channels[0], capacity_mib=1),))
    with pytest.raises(InputError, match=r"a target with more memory$"):
        Memory(large, W4A4, plan(large, W4A4, small), small).regions()


def test_registers_have_an_end():
    config, u280 = sizes(d_model=16128, n_layer=500, headdim=128), shipped("u280")
    found = Memory(config, W4A4, plan(config, W4A4, u280), u280)
    with pytest.raises(InputError, match="channel hbm0 would hold 11849 MiB, but has 256"):
        found.regions()
    large = replace(u280, channels=tuple(replace(c, capacity_mib=0) for c in u280.channels))
    found = replace(found, target=large)
    assert found.registers(found.regions())
    narrow = shipped("ecpix5")
    narrow = replace(narrow, channels=(replace(narrow.channels[0], capacity_mib=0),))
    found = Memory(config, W4A4, plan(config, W4A4, narrow), narrow)
    with pytest.raises(InputError, match=r"register layers_beats would hold \d+, but has 32 bits"):
        found.registers(found.regions())
