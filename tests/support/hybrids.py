"""Random hybrids as transformers makes and saves them: dense Granite-4.0-H, and Nemotron-H."""

from pathlib import Path
from typing import Any

import torch

from tests.support.checkpoints import drawn

__all__ = ["EXPERTS", "FAMILIES", "NEMOTRON", "granite", "nemotron", "randomized", "saved"]

GRANITE: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 3, "layer_types": ["mamba", "attention", "mamba"],
    "num_attention_heads": 4, "num_key_value_heads": 2, "shared_intermediate_size": 96,
    "intermediate_size": 96, "num_local_experts": 0, "num_experts_per_tok": 0, "vocab_size": 128,
    "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_d_state": 16, "mamba_n_groups": 1,
    "mamba_chunk_size": 16, "position_embedding_type": "nope", "attention_multiplier": 1 / 16,
    "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 6.0,
    "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
NEMOTRON: dict[str, Any] = {
    "hidden_size": 64, "layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp"],
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 96,
    "vocab_size": 128, "mamba_num_heads": 6, "mamba_head_dim": 24, "ssm_state_size": 16,
    "n_groups": 2, "chunk_size": 16, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip


# What a model with experts has besides; its shared blocks are two, and one, as wide as an expert.
EXPERTS: dict[str, dict[str, Any]] = {
    "granite": {
        "num_local_experts": 6, "num_experts_per_tok": 2, "intermediate_size": 48,
        "shared_intermediate_size": 96,
    },
    "nemotron": {
        "layers_block_type": ["linear_attention", "moe", "full_attention", "moe"],
        "n_routed_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 40,
        "moe_shared_expert_intermediate_size": 40, "routed_scaling_factor": 2.5,
    },
}  # fmt: skip


def granite(**changes: Any) -> Any:
    """A Granite-4.0-H of random weights."""
    from transformers import GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM  # takes seconds

    return randomized(GraniteMoeHybridForCausalLM(GraniteMoeHybridConfig(**GRANITE | changes)))


def nemotron(**changes: Any) -> Any:
    """A Nemotron-H of random weights."""
    from transformers import NemotronHConfig, NemotronHForCausalLM

    return randomized(NemotronHForCausalLM(NemotronHConfig(**NEMOTRON | changes)))


FAMILIES = {"granite": granite, "nemotron": nemotron}


@torch.no_grad()
def randomized(model: Any, seed: int = 0) -> Any:
    """Fill all parameters as those of :func:`tests.support.checkpoints.float_model` are."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.copy_(drawn(name, parameter.shape, generator))
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) / 2)
    return model.eval()


def saved(model: Any, folder: Path) -> Path:
    """The model as a checkpoint in float32."""
    model.save_pretrained(folder)
    return folder
