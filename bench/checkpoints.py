"""Random checkpoints of the published shapes, in Hugging Face layout, bf16, a file for each layer.

    python -m bench.checkpoints mamba2-2.7b FOLDER --tokenizer tokenizer.json

Weights are those that training begins with, so that activations stay healthy at any depth. One
layer is made at a time, and written: memory is that of a layer, or of the embedding.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.common import KNOWN
from lightmamba.model.causal_lm import Layer
from lightmamba.model.checkpoint.layouts import published_as
from lightmamba.model.checkpoint.save import config_json, published_parts
from lightmamba.model.config import ModelConfig

__all__ = ["make_checkpoint"]


def make_checkpoint(
    config: ModelConfig, folder: Path, *, seed: int = 0, tokenizer: Path | None = None
) -> int:
    """Write a random checkpoint.

    Parameters
    ----------
    config
        Sizes.
    folder
        Made if it is not there.
    seed
        Of all weights.
    tokenizer
        A tokenizer.json to put next to the weights.

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
    if tokenizer is not None:
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
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


def main() -> None:
    parser = argparse.ArgumentParser(description="a random checkpoint of a published shape")
    parser.add_argument("shape", choices=[*KNOWN])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json to put next to it")
    args = parser.parse_args()
    start = time.perf_counter()
    size = make_checkpoint(KNOWN[args.shape], args.folder, seed=args.seed, tokenizer=args.tokenizer)
    seconds = time.perf_counter() - start
    print(f"{args.folder}: {size / 1e9:.2f} GB of weights in {seconds:.0f} s")


if __name__ == "__main__":
    main()
