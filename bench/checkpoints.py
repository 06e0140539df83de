"""Random checkpoints of the published shapes, in Hugging Face layout, bf16, a file for each layer.

Weights are those that training begins with, so that activations stay healthy at any depth. One
layer is made at a time, and written: memory is that of a layer, or of the embedding.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lightmamba.model.causal_lm import Layer
from lightmamba.model.checkpoint.layouts import published_as
from lightmamba.model.checkpoint.save import config_json, published_parts
from lightmamba.model.config import ModelConfig

__all__ = ["make_checkpoint"]


def make_checkpoint(config: ModelConfig, folder: Path, *, seed: int = 0) -> int:
    """Write a random checkpoint.

    Parameters
    ----------
    config
        Sizes.
    folder
        Made if it is not there.
    seed
        Of all weights.

    Returns
    -------
    int
        Bytes of all weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    published, count = published_as(config_json(config)), config.n_layer + 1
    weight_map, total = dict[str, str](), 0
    for number, parameters in enumerate(_parameters(config, seed), 1):
        file, tensors = f"model-{number:05d}-of-{count:05d}.safetensors", dict[str, Tensor]()
        for own, value in parameters.items():
            tensors |= published_parts(published, own, value)
        total += sum(tensor.nbytes for tensor in tensors.values())
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    texts = {"model.safetensors.index.json": index, "config.json": config_json(config)}
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return total


@torch.no_grad()
def _parameters(config: ModelConfig, seed: int) -> Iterator[dict[str, Tensor]]:
    """Parameters by name: those of no layer, then of one layer after the other."""
    generator = torch.Generator().manual_seed(seed)
    tables = ("embedding.weight", *("lm_head.weight",) * (not config.tie_embeddings))
    size = (config.vocab_size, config.d_model)
    yield {"norm_f": torch.ones(config.d_model)} | {
        name: torch.empty(size).normal_(0, 0.02, generator=generator) for name in tables
    }
    for number, sizes in enumerate(config.layers):
        layer = Layer(sizes, config.d_model, config.eps)
        layer.mixer.initialize(generator)
        layer.mixer.out_proj.weight.div_(math.sqrt(config.n_layer))
        yield {f"layers.{number}.{own}": value for own, value in layer.named_parameters()}
