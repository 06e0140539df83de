"""Granite-4.0-H and Nemotron-H, with experts or without: logits, and what is refused by name."""

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint import load_checkpoint, open_checkpoint
from lightmamba.model.checkpoint.layouts import read_config
from tests.support.hybrids import EXPERTS, FAMILIES, NEMOTRON, granite, nemotron, saved

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
    "granite, experts": lambda: granite(**EXPERTS["granite"]),
    "granite, every expert": lambda: granite(**EXPERTS["granite"] | {"num_experts_per_tok": 6}),
    "nemotron, experts": lambda: nemotron(**EXPERTS["nemotron"]),
    "nemotron, experts, sigmoids as they are": lambda: nemotron(
        **EXPERTS["nemotron"] | {"norm_topk_prob": False, "num_experts_per_tok": 1}
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
@pytest.mark.parametrize("experts", [False, True])
def test_layer_by_layer_is_the_whole_model(family, experts, tmp_path):
    theirs = FAMILIES[family](**EXPERTS[family] if experts else {})
    opened = open_checkpoint(saved(theirs, tmp_path / "model"))
    model = opened.load().model
    for index, layer in enumerate(model.layers):
        read = opened.weights.layer(index).state_dict()
        for name, tensor in layer.state_dict().items():
            assert torch.equal(read[name], tensor), (index, name)
    assert torch.equal(opened.weights.embedding().to(torch.float32), model.embedding.weight)
    assert torch.equal(opened.weights.head(slice(3, 9)), model.lm_head.weight[3:9])


REFUSED = {
    "more experts than there are": (
        "granite", EXPERTS["granite"] | {"num_experts_per_tok": 7}, "at most num_local_experts 6",
    ),
    "shared blocks of another width": (
        "granite", EXPERTS["granite"] | {"intermediate_size": 40}, "a multiple of intermediate_si",
    ),
    "experts in groups": (
        "nemotron", EXPERTS["nemotron"] | {"n_group": 5, "topk_group": 2}, "experts in groups",
    ),
    "latent experts": (
        "nemotron", EXPERTS["nemotron"] | {"moe_latent_size": 32}, "experts of latent channels",
    ),
    "more experts than a layer has": (
        "nemotron", EXPERTS["nemotron"] | {"num_experts_per_tok": 6}, "at most n_routed_experts 5",
    ),
    "another width of what all take": (
        "nemotron", EXPERTS["nemotron"] | {"moe_shared_expert_intermediate_size": 60},
        "a multiple of moe_intermediate_size 40",
    ),
    "rotary positions": ("granite", {"position_embedding_type": "rope"}, "rotary positions"),
    "biases": ("granite", {"attention_bias": True}, "biases of attention"),
    "groups": ("granite", {"mamba_n_groups": 2}, "several groups"),
    "a sliding window": ("nemotron", {"sliding_window": 128}, "a sliding window"),
    "other activations": ("nemotron", {"mlp_hidden_act": "silu"}, "another activation than relu2"),
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


IN_MEMORY = {
    "router.layer.weight": "router.weight", "input_linear.weight": "experts.gate_up_proj",
    "output_linear.weight": "experts.down_proj",
}  # fmt: skip


def as_in_memory(tensors):
    """Tensors of experts as transformers has them in memory: stacked, and without `layer`."""
    found: dict[str, Any] = {}
    single = re.compile(r"experts\.(\d+)\.(up_proj|down_proj)\.weight$")
    for name in sorted(tensors, key=lambda name: [int(n) for n in re.findall(r"\d+", name)]):
        if match := single.search(name):
            found.setdefault(f"{name[: match.start()]}experts.{match[2]}", []).append(tensors[name])
            continue
        old = next((n for n in IN_MEMORY if name.endswith(f"block_sparse_moe.{n}")), "")
        found[name.removesuffix(old) + IN_MEMORY.get(old, "")] = tensors[name]
    return {n: torch.stack(t) if isinstance(t, list) else t for n, t in found.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_under_the_names_that_they_have_in_memory(family, tmp_path):
    folder = saved(FAMILIES[family](**EXPERTS[family]), tmp_path / "model")
    wanted = load_checkpoint(folder).model.state_dict()
    path = folder / "model.safetensors"
    tensors = as_in_memory(load_file(path))
    assert sum(tensor.ndim == 3 and "experts" in name for name, tensor in tensors.items()) >= 4
    save_file(tensors, path)
    found = load_checkpoint(folder).model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    name = next(name for name in tensors if name.endswith("experts.down_proj"))
    save_file(tensors | {name: tensors[name][:-1].contiguous()}, path)
    with pytest.raises(InputError, match=f"{name} has shape .* but config.json asks for "):
        load_checkpoint(folder)
    save_file({n: t for n, t in tensors.items() if n != name}, path)
    with pytest.raises(InputError, match=r"is missing from the weights, though config\.json asks"):
        load_checkpoint(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_factors_of_a_half_precision_file_are_of_float32(family, tmp_path):
    folder = saved(FAMILIES[family](**EXPERTS[family]), tmp_path / "model")
    path = folder / "model.safetensors"
    halves = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
    save_file({name: tensor.float() for name, tensor in halves.items()}, path)
    wanted = load_checkpoint(folder).model.state_dict()
    save_file(halves, path)
    found = open_checkpoint(folder).weights
    for index in range(found.config.n_layer):
        for name, tensor in found.layer(index).named_parameters():
            assert torch.equal(tensor.float(), wanted[f"layers.{index}.{name}"]), name


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


def test_null_means_as_many_keys_as_queries(tmp_path):
    """As in transformers, where a missing entry means eight."""
    folder = saved(nemotron(num_key_value_heads=4), tmp_path / "model")
    as_given = load_checkpoint(folder).config
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_key_value_heads": None}))
    assert load_checkpoint(folder).config == as_given


def test_earlier_names_are_those_of_transformers(tmp_path):
    """They count before the present ones."""
    from transformers import NemotronHConfig

    earlier = {
        "mamba_n_groups": 3, "mamba_d_conv": 3, "mamba_dt_min": 0.01, "mamba_conv_bias": False,
        "mamba_chunk_size": 32,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(NEMOTRON | {"model_type": "nemotron_h"} | earlier))
    mixer: Any = read_config(path).published.config.layers[0]
    theirs = NemotronHConfig(**NEMOTRON | earlier)
    assert (mixer.ngroups, mixer.d_conv, mixer.dt_limit[0], mixer.conv_bias, mixer.chunk_size) == (
        theirs.n_groups, theirs.conv_kernel, theirs.time_step_min, theirs.use_conv_bias,
        theirs.chunk_size,
    )  # fmt: skip
    assert mixer.ngroups == 3
