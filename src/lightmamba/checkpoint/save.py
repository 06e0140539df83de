"""Save a float model as a checkpoint that transformers' Mamba2ForCausalLM loads."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from lightmamba.causal_lm import CausalLM
from lightmamba.checkpoint.layouts.mamba2 import origin
from lightmamba.checkpoint.sidecar import parse_tokenizer
from lightmamba.config import ModelConfig
from lightmamba.errors import InputError

__all__ = ["config_json", "save_checkpoint"]

IDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def save_checkpoint(model: CausalLM, folder: Path, *, tokenizer: Path | None = None) -> None:
    """Write bf16 ``model.safetensors``, ``config.json``, ``generation_config.json``, tokenizer.

    Every file is first written aside and all are then renamed, so that a full disk leaves the
    files of an earlier checkpoint as they were. Id 0 is begin, end and padding.

    Parameters
    ----------
    model
        Of any floating-point type.
    folder
        Made if it is not there.
    tokenizer
        The tokenizer.json of this model.

    Raises
    ------
    InputError
        If the folder cannot be written, or the tokenizer does not fit the model.
    """
    config = model.config
    texts = {"config.json": config_json(config), "generation_config.json": IDS}
    data = {name: (json.dumps(value, indent=2) + "\n").encode() for name, value in texts.items()}
    if tokenizer is not None:
        data["tokenizer.json"], _ = parse_tokenizer(tokenizer, config.vocab_size)
    weights = {
        origin(own).parts[0].names[0]: parameter.detach().to(torch.bfloat16).contiguous()
        for own, parameter in model.named_parameters()  # a tied head is not listed
    }
    parts = {name: folder / f".{name}.part" for name in ("model.safetensors", *data)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights, parts["model.safetensors"], metadata={"format": "pt"})
        for name, content in data.items():
            parts[name].write_bytes(content)
        shutil.copymode(parts["config.json"], parts["model.safetensors"])  # save_file says 0600
        for name, part in parts.items():
            os.replace(part, folder / name)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write a checkpoint to {folder}: {reason}") from error
    finally:
        _remove(parts)


def _remove(parts: dict[str, Path]) -> None:
    for part in parts.values():
        if part.is_file():
            part.unlink()


def config_json(config: ModelConfig) -> dict[str, Any]:
    """Sizes of a model as transformers writes them."""
    layer: Any = config.layers[0]
    if config.kinds != ("mamba2",) or len(set(config.layers)) > 1:
        raise InputError("only models of equal Mamba2 layers can be saved in transformers' layout")
    fields: dict[str, Any] = {
        "architectures": ["Mamba2ForCausalLM"],
        "model_type": "mamba2",
        "dtype": "bfloat16",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layer,
        "num_heads": layer.nheads,
        "head_dim": layer.headdim,
        "state_size": layer.d_state,
        "n_groups": layer.ngroups,
        "expand": layer.d_inner // config.d_model,
        "conv_kernel": layer.d_conv,
        "chunk_size": layer.chunk_size,
        "use_bias": False,
        "use_conv_bias": layer.conv_bias,
        "hidden_act": "silu",
        "layer_norm_epsilon": config.eps,
        "tie_word_embeddings": config.tie_embeddings,
        **IDS,
    }
    low, high = layer.dt_limit
    if layer.dt_limit != (0.0, math.inf):  # the default needs no word, and JSON has none for it
        upper = {"__float__": "Infinity"} if math.isinf(high) else high
        fields["time_step_limit"] = [low, upper]
    return fields
