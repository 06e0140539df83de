"""Random checkpoints for benchmarks: loadable, a file for each layer, healthy at any depth."""

import json
from dataclasses import replace

import pytest
import torch
from bench.checkpoints import make_checkpoint

from lightmamba.model.checkpoint import load_checkpoint
from lightmamba.model.config import mamba2_config

CONFIG = mamba2_config(d_model=64, n_layer=24, vocab_size=200, d_state=16, headdim=16)


def test_a_layer_has_a_file_and_the_index_knows_all(tmp_path):
    total = make_checkpoint(CONFIG, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == CONFIG.n_layer + 1
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    model = load_checkpoint(tmp_path).model
    assert total == index["metadata"]["total_size"]
    assert total == 2 * sum(p.numel() for p in model.parameters())


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
        same = (".norm", "norm_f", ".D", "conv1d.bias")  # what training begins with
        assert torch.equal(x, y) == name.endswith(same), name
