"""Random GGUF files: keys and shapes that llama.cpp wants, and values that keep a model alive."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lightmamba.blocks import kind
from lightmamba.model.config import SHAPES, mamba2_config

gguf = pytest.importorskip("gguf")
writer = pytest.importorskip("bench.engine_gguf")

SMALL = mamba2_config(d_model=64, n_layer=2, vocab_size=96, d_state=16, headdim=32, ngroups=2)
INNER, CONV, HEADS = 128, 128 + 2 * 2 * 16, 4
LAYER = {  # by hand, as ggml counts: the fastest axis first
    "attn_norm.weight": ([64], "F32"),
    "ssm_in.weight": ([64, INNER + CONV + HEADS], "Q4_0"),
    "ssm_conv1d.weight": ([4, CONV], "F32"),
    "ssm_conv1d.bias": ([CONV], "F32"),
    "ssm_dt.bias": ([HEADS], "F32"),
    "ssm_a": ([1, HEADS], "F32"),
    "ssm_d": ([1, HEADS], "F32"),
    "ssm_norm.weight": ([INNER // 2, 2], "F32"),
    "ssm_out.weight": ([INNER, 64], "Q4_0"),
}
KEYS = {
    "general.architecture": "mamba2",
    "tokenizer.ggml.model": "no_vocab",
    "mamba2.vocab_size": 96,
    "mamba2.context_length": 1 << 20,
    "mamba2.embedding_length": 64,
    "mamba2.feed_forward_length": 0,
    "mamba2.attention.head_count": 0,
    "mamba2.block_count": 2,
    "mamba2.ssm.conv_kernel": 4,
    "mamba2.ssm.inner_size": INNER,
    "mamba2.ssm.state_size": 16,
    "mamba2.ssm.time_step_rank": HEADS,
    "mamba2.ssm.group_count": 2,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    assert writer.write(SMALL, path) == path.stat().st_size
    assert [p.name for p in path.parent.iterdir()] == ["small.gguf"]
    return gguf.GGUFReader(path)


def test_keys(written):
    found = {name: written.get_field(name).contents() for name in KEYS}
    assert found == KEYS
    eps = written.get_field("mamba2.attention.layer_norm_rms_epsilon").contents()
    assert eps == pytest.approx(SMALL.eps)


def test_tensors(written):
    wanted = {"token_embd.weight": ([64, 96], "Q4_0"), "output_norm.weight": ([64], "F32")}
    for i in range(2):
        wanted |= {f"blk.{i}.{name}": spec for name, spec in LAYER.items()}
    found = {t.name: (list(t.shape), t.tensor_type.name) for t in written.tensors}
    assert found == wanted


def test_values_are_those_of_a_model_that_lives(written):
    values = {t.name: t for t in written.tensors}
    for name, columns in {"ssm_in.weight": 64, "ssm_out.weight": INNER}.items():
        t = values[f"blk.1.{name}"]
        real = gguf.quants.dequantize(t.data, t.tensor_type)
        gain = 1.0 if "in" in name else 0.4
        assert real.std() == pytest.approx(gain / math.sqrt(columns), rel=0.05)
    A, dt = values["blk.0.ssm_a"].data, values["blk.0.ssm_dt.bias"].data
    assert (A < 0).all()
    assert (np.log1p(np.exp(dt)) < 0.31).all()
    assert all(np.isfinite(t.data).all() for t in written.tensors if t.tensor_type.name == "F32")
    first, second = (values[f"blk.{i}.ssm_in.weight"].data for i in range(2))
    assert (first != second).any()


def test_bytes_of_130m():
    """Weights of projections and head at 4.5 bits: what llama.cpp must read for a token."""
    named = writer.shapes(SHAPES["mamba2-130m"])
    packed = [s for n, s in named.items() if "token_embd" in n or "_in" in n or "_out" in n]
    block, size_of_block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q4_0]
    size = sum(math.prod(s) for s in packed) * size_of_block / block
    assert len(packed) == 1 + 2 * 24
    assert size / 1e6 == pytest.approx(72.4, abs=0.1)


EXPERTS = {  # by hand: 6 experts of 64 channels, and blocks of them that every token takes
    "ffn_norm.weight": ([64], "F32"),
    "ffn_gate_inp.weight": ([64, 6], "F32"),
    "ffn_gate_exps.weight": ([64, 64, 6], "Q4_0"),
    "ffn_up_exps.weight": ([64, 64, 6], "Q4_0"),
    "ffn_down_exps.weight": ([64, 64, 6], "Q4_0"),
    "ffn_gate_shexp.weight": ([64, 128], "Q4_0"),
    "ffn_up_shexp.weight": ([64, 128], "Q4_0"),
    "ffn_down_shexp.weight": ([128, 64], "Q4_0"),
}
SIZES = {
    "feed_forward_length": 64, "expert_count": 6, "expert_used_count": 2,
    "expert_shared_feed_forward_length": 128, "block_count": 2,
}  # fmt: skip


def test_experts(tmp_path):
    """A block of llama.cpp is a mixer and the experts behind it."""
    experts = kind("experts").Sizes(n_experts=6, top_k=2, d_hidden=64, n_shared=2)
    config = replace(SMALL, layers=(SMALL.layers[0], experts) * 2)
    writer.write(config, tmp_path / "small.gguf")
    found = gguf.GGUFReader(tmp_path / "small.gguf")
    assert found.get_field("general.architecture").contents() == "granitehybrid"
    sizes = {name: found.get_field(f"granitehybrid.{name}").contents() for name in SIZES}
    assert sizes == SIZES
    tensors = {t.name: (list(t.shape), t.tensor_type.name) for t in found.tensors}
    wanted = {f"blk.{n}.{name}": spec for n in range(2) for name, spec in EXPERTS.items()}
    assert wanted.items() <= tensors.items()
    assert "blk.1.ssm_out.weight" in tensors
