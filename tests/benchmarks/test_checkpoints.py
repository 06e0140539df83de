"""Random checkpoints for benchmarks: loadable, the same in any shards, healthy at any depth."""

import json
from dataclasses import replace

import pytest
import torch
from bench.checkpoints import make_checkpoint

from lightmamba.model.checkpoint import load_checkpoint
from lightmamba.model.config import mamba2_config

CONFIG = mamba2_config(d_model=64, n_layer=24, vocab_size=200, d_state=16, headdim=16)


def test_shards_change_no_weight(tmp_path):
    for name, size in (("one", 2**30), ("many", 60_000)):
        make_checkpoint(CONFIG, tmp_path / name, seed=3, shard_bytes=size)
    assert len(list((tmp_path / "one").glob("*.safetensors"))) == 1
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 5
    one, many = (load_checkpoint(tmp_path / name).model for name in ("one", "many"))
    for (name, a), b in zip(one.named_parameters(), many.parameters(), strict=True):
        assert torch.equal(a, b), name
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * sum(p.numel() for p in one.parameters())


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_activations_stay_healthy(tmp_path, tied):
    config = replace(CONFIG, tie_embeddings=tied)
    make_checkpoint(config, tmp_path)
    logits, _ = load_checkpoint(tmp_path).model(torch.arange(200).reshape(2, 100))
    assert 0.05 < float(logits.std()) < 2


def test_another_seed_gives_other_weights(tmp_path):
    for seed in (0, 1):
        make_checkpoint(CONFIG, tmp_path / str(seed), seed=seed)
    a, b = (load_checkpoint(tmp_path / str(seed)).model for seed in (0, 1))
    for (name, x), y in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(x, y) == name.endswith((".norm", "norm_f", ".D")), name
