"""Small random float models, and checkpoints of them on disk, in both layouts."""

import json
import math
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.config import ModelConfig
from tests.support.builders import sizes, write_tokenizer

from .layers import sizes_of

__all__ = ["UNTIED", "WORDED", "drawn", "float_model", "named_parameters", "transformers_model"]
__all__ += ["transformers_names", "write_state_spaces", "write_transformers"]

UNTIED = sizes(vocab_size=64, chunk_size=8, tie_embeddings=False)
WORDED = sizes(  # with rows for the characters and words of a tokenizer
    d_model=64, vocab_size=264, headdim=32, chunk_size=16, tie_embeddings=False
)
DRAWN = ("dt_bias", "A_log", "D", "norm", "in_proj.weight", "conv1d.weight", "conv1d.bias",
         "out_proj.weight")  # fmt: skip


def named_parameters(model: CausalLM) -> Iterator[tuple[str, Tensor]]:
    """Names and parameters, those of a mixer in the order in which they are drawn.

    So a seed gives the same model, in whatever order the modules declare their parameters.
    """
    for _, group in groupby(
        model.named_parameters(), lambda item: item[0].rpartition(".mixer.")[0]
    ):
        yield from sorted(group, key=lambda item: _place(item[0].rpartition(".mixer.")[2]))


def _place(own: str) -> int:
    return DRAWN.index(own) if own in DRAWN else len(DRAWN)


def drawn(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Random values of a parameter, of a trained model's sizes: no bias or norm stays trivial."""

    def normal(std: float, mean: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64) * std + mean

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low

    if name.endswith("dt_bias"):  # softplus of it from 0.001 to 0.3
        return uniform(math.log(1e-3), math.log(0.3)).exp().expm1().log()
    if name.endswith("A_log"):
        return uniform(1.0, 16.0).log()
    if "embed" in name:
        return normal(1.0)
    if len(shape) > 1:
        return normal(1 / math.sqrt(shape[1:].numel()))
    return normal(0.2) if name.endswith("bias") else normal(0.3, 1.0)  # D, or a norm


def float_model(
    config: ModelConfig = UNTIED, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> CausalLM:
    """Float model in which every parameter is random, norms and biases included.

    The values are exact in ``dtype``; the model itself computes in float32 (float64 if that is
    ``dtype``), so a checkpoint written in ``dtype`` holds exactly these weights.
    """
    generator = torch.Generator().manual_seed(seed)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    model = CausalLM(config).to(wide).requires_grad_(False).eval()
    for name, parameter in named_parameters(model):
        parameter.copy_(drawn(name, parameter.shape, generator).to(dtype))
    return model


def transformers_names(model: CausalLM) -> dict[str, Tensor]:
    """Weights under transformers' names, a tied head left out."""
    names = {}
    for own, parameter in model.named_parameters():
        name = own if own == "lm_head.weight" else f"backbone.{own}"
        name = name.replace("embedding.weight", "embeddings.weight")
        is_norm = name.endswith((".norm", ".norm_f"))
        names[f"{name}.weight" if is_norm else name] = parameter.data
    return names


def transformers_model(model: CausalLM, **config: Any) -> Any:
    """transformers' Mamba2ForCausalLM with the same weights; ``config`` overrides its fields."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    c, sizes = model.config, sizes_of(model.config)
    fields: dict[str, Any] = {
        "hidden_size": c.d_model,
        "num_hidden_layers": c.n_layer,
        "vocab_size": c.vocab_size,
        "state_size": sizes.d_state,
        "head_dim": sizes.headdim,
        "num_heads": sizes.nheads,
        "n_groups": sizes.ngroups,
        "expand": sizes.d_inner // c.d_model,
        "conv_kernel": sizes.d_conv,
        "chunk_size": sizes.chunk_size,
        "use_conv_bias": sizes.conv_bias,
        "tie_word_embeddings": c.tie_embeddings,
        "layer_norm_epsilon": c.eps,
        "time_step_limit": sizes.dt_limit,
    }
    theirs = Mamba2ForCausalLM(Mamba2Config(**fields | config)).eval()
    weights = transformers_names(model)
    if c.tie_embeddings:
        weights["lm_head.weight"] = model.embedding.weight.data
    theirs.load_state_dict(weights, strict=True)
    return theirs


def write_transformers(
    folder: Path,
    config: ModelConfig = UNTIED,
    *,
    dtype: torch.dtype = torch.float32,
    sharded: bool = False,
    pickled: bool = False,
) -> CausalLM:
    """Have transformers save a random model to ``folder``, and return the same model as ours.

    Parameters
    ----------
    folder
        Made if it is not there.
    config, dtype
        Of the random model; ``dtype`` is that of the file.
    sharded
        Several files with an index.
    pickled
        ``pytorch_model.bin``, which transformers itself no longer writes.
    """
    model = float_model(config, dtype=dtype)
    theirs = transformers_model(model).to(dtype)
    if sharded and not pickled:
        theirs.save_pretrained(folder, max_shard_size="12KB")
        assert len(list(folder.glob("model-*.safetensors"))) > 1, "one shard only"
    else:
        theirs.save_pretrained(folder)
    if pickled:
        (folder / "model.safetensors").unlink()
        tensors = {name: tensor.to(dtype) for name, tensor in transformers_names(model).items()}
        _write_pickled(folder, tensors, sharded=sharded)
    return model


def write_state_spaces(
    folder: Path,
    config: ModelConfig = UNTIED,
    *,
    seed: int = 0,
    pickled: bool = True,
    tokenizer: bool = False,
    padding: int = 0,
    **overrides: Any,
) -> CausalLM:
    """Write a random model to ``folder`` as mamba_ssm's save_pretrained does, and return it.

    Needs no transformers.

    Parameters
    ----------
    folder, config, pickled
        As for `write_transformers`; mamba_ssm itself writes one pickled file.
    seed
        Of the random model.
    tokenizer
        With a tokenizer.json of ``vocab_size - 3`` ids.
    padding
        Rows of the vocabulary that are padding; ``pad_vocab_size_multiple`` is chosen to give them.
    overrides
        Further keys of config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = float_model(config, seed=seed)
    sizes = sizes_of(config)
    low, high = sizes.dt_limit
    written = {
        "d_model": config.d_model,
        "d_intermediate": 0,
        "n_layer": config.n_layer,
        "vocab_size": config.vocab_size - padding,
        "ssm_cfg": {
            "layer": "Mamba2",
            "d_state": sizes.d_state,
            "headdim": sizes.headdim,
            "ngroups": sizes.ngroups,
            "expand": sizes.d_inner // config.d_model,
            "d_conv": sizes.d_conv,
            "chunk_size": sizes.chunk_size,
            "conv_bias": sizes.conv_bias,
            "dt_limit": [low, high],
        },
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": config.vocab_size if padding else 1,
        "tie_embeddings": config.tie_embeddings,
    }
    (folder / "config.json").write_text(json.dumps(written | overrides, indent=2))
    tensors = {
        name.replace("embeddings.", "embedding."): tensor
        for name, tensor in transformers_names(model).items()
    }
    if pickled:
        if config.tie_embeddings:  # mamba_ssm saves the tied head too
            tensors["lm_head.weight"] = tensors["backbone.embedding.weight"]
        _write_pickled(folder, tensors, sharded=False)
    else:
        save_file(tensors, folder / "model.safetensors")
    if tokenizer:
        write_tokenizer(folder / "tokenizer.json", config.vocab_size - max(padding, 3))
    return model


def _write_pickled(folder: Path, tensors: dict[str, Tensor], *, sharded: bool) -> None:
    if not sharded:
        torch.save(tensors, folder / "pytorch_model.bin")
        return
    names = sorted(tensors)
    half = len(names) // 2
    weight_map: dict[str, str] = {}
    for part, shard in enumerate((names[:half], names[half:]), 1):
        file = f"pytorch_model-{part:05d}-of-00002.bin"
        torch.save({name: tensors[name] for name in shard}, folder / file)
        weight_map |= dict.fromkeys(shard, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
