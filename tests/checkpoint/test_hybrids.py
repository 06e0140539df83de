"""Dense Granite-4.0-H and Nemotron-H: logits as transformers', and what is refused by name."""

import json

import numpy as np
import pytest
import torch

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint import load_checkpoint, open_checkpoint
from tests.support.hybrids import FAMILIES, granite, nemotron, saved

CASES = {
    "granite": lambda: granite(),
    "granite, untied, no multipliers": lambda: granite(
        tie_word_embeddings=False, embedding_multiplier=1.0, residual_multiplier=1.0,
        logits_scaling=1.0, attention_multiplier=0.25,
    ),
    "granite, attention first": lambda: granite(
        layer_types=["attention", "mamba", "attention"], num_key_value_heads=4, mamba_d_conv=3
    ),
    "granite, one KV head, no bias of the convolution": lambda: granite(
        num_key_value_heads=1, mamba_conv_bias=False, mamba_d_head=16, mamba_n_heads=8
    ),
    "nemotron": lambda: nemotron(),
    "nemotron, wide heads, three groups": lambda: nemotron(
        head_dim=48, n_groups=3, mamba_head_dim=16
    ),
}  # fmt: skip


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(ours - theirs).max() <= 1e-4 * max(1.0, np.abs(theirs).max())


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(case, tmp_path):
    theirs = CASES[case]()
    ids = torch.randint(1, 128, (2, 37), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = theirs(ids).logits.numpy()
    ours = load_checkpoint(saved(theirs, tmp_path / "model")).model
    with torch.no_grad():
        found, caches = ours(ids[:, :20])
        rest, _ = ours(ids[:, 20:], caches)
        close(torch.cat([found, rest], 1).numpy(), wanted)
        caches = ours.empty_caches(2)
        for t in range(ids.shape[1]):
            logits, caches = ours.step(ids[:, t], caches)
            close(logits.numpy(), wanted[:, t])


@pytest.mark.parametrize("family", FAMILIES)
def test_layer_by_layer_is_the_whole_model(family, tmp_path):
    opened = open_checkpoint(saved(FAMILIES[family](), tmp_path / "model"))
    model = opened.load().model
    for index, layer in enumerate(model.layers):
        read = opened.weights.layer(index).state_dict()
        for name, tensor in layer.state_dict().items():
            assert torch.equal(read[name], tensor), (index, name)
    assert torch.equal(opened.weights.embedding().to(torch.float32), model.embedding.weight)
    assert torch.equal(opened.weights.head(slice(3, 9)), model.lm_head.weight[3:9])


REFUSED = {
    "experts": ("granite", {"num_local_experts": 4}, "experts"),
    "rotary positions": ("granite", {"position_embedding_type": "rope"}, "rotary positions"),
    "biases": ("granite", {"attention_bias": True}, "biases of attention"),
    "groups": ("granite", {"mamba_n_groups": 2}, "several groups"),
    "a sliding window": ("nemotron", {"sliding_window": 128}, "a sliding window"),
    "other activations": ("nemotron", {"mlp_hidden_act": "silu"}, "another activation than relu2"),
    "a layer of experts": (
        "nemotron", {"layers_block_type": ["linear_attention", "moe"]}, "without experts",
    ),
    "an unknown layer": ("nemotron", {"layers_block_type": ["conv"]}, "made of linear_attention"),
    "Falcon-H1": ("granite", {"model_type": "falcon_h1"}, "rotary positions in every layer"),
    "Zamba2": ("granite", {"model_type": "zamba2"}, "shares attention layers"),
    "Bamba": ("granite", {"model_type": "bamba"}, "partial rotary positions"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_run_is_refused_by_name(case, tmp_path):
    family, changes, sentence = REFUSED[case]
    folder = saved(FAMILIES[family](), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=sentence):
        load_checkpoint(folder)


def test_a_pattern_of_letters_is_read_too(tmp_path):
    """As NVIDIA's own checkpoints have it, with their prefix of the tensors' names."""
    folder = saved(nemotron(), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    del config["layers_block_type"]
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config | {"hybrid_override_pattern": "M-*-"}))
    assert [x.kind for x in load_checkpoint(folder).config.layers] == [
        "mamba2", "mlp", "attention", "mlp",
    ]  # fmt: skip
