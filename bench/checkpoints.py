"""Random checkpoints of the published shapes, in Hugging Face layout, bf16, in shards.

    python -m bench.checkpoints mamba2-2.7b FOLDER --tokenizer tokenizer.json

Weights are drawn as mamba_ssm initializes them, so that activations stay healthy at any depth. One
tensor is made at a time, and a shard is written as soon as it is full: memory is that of a shard.
"""

import argparse
import json
import math
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.common import KNOWN
from lightmamba.model.checkpoint.chosen import expected
from lightmamba.model.checkpoint.layouts import published_as
from lightmamba.model.checkpoint.save import config_json, published_parts
from lightmamba.model.config import ModelConfig

__all__ = ["make_checkpoint"]

SHARD = 512 * 2**20  # bytes


def make_checkpoint(
    config: ModelConfig,
    folder: Path,
    *,
    seed: int = 0,
    shard_bytes: int = SHARD,
    tokenizer: Path | None = None,
) -> int:
    """Write a random checkpoint; the same seed gives the same weights in any shards.

    Parameters
    ----------
    config
        Sizes.
    folder
        Made if it is not there.
    seed
        Of every tensor, together with its name.
    shard_bytes
        A shard ends before it would grow larger; a tensor is never split.
    tokenizer
        A tokenizer.json to put next to the weights.

    Returns
    -------
    int
        Bytes of all weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = list(_shards(config, shard_bytes))
    published = published_as(config_json(config))
    weight_map: dict[str, str] = {}
    total = 0
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors: dict[str, Tensor] = {}
        for own, size in names:
            tensors |= published_parts(published, own, _tensor(config, own, size, seed))
        total += sum(tensor.nbytes for tensor in tensors.values())
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    for name, value in (
        ("model.safetensors.index.json", index), ("config.json", config_json(config))
    ):  # fmt: skip
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    if tokenizer is not None:
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
    return total


def _shards(config: ModelConfig, limit: int) -> Iterator[list[tuple[str, tuple[int, ...]]]]:
    """Names and shapes of the parameters, as many together as fit a shard."""
    names: list[tuple[str, tuple[int, ...]]] = []
    held = 0
    for own, size in expected(config):
        nbytes = 2 * math.prod(size)
        if names and held + nbytes > limit:
            yield names
            names, held = [], 0
        names.append((own, size))
        held += nbytes
    yield names


def _tensor(config: ModelConfig, own: str, size: tuple[int, ...], seed: int) -> Tensor:
    """One parameter, drawn as mamba_ssm initializes it, in bf16."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {own}".encode()))

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(size).uniform_(low, high, generator=generator)

    kind = own.removesuffix(".weight").rpartition(".")[2]
    if kind in ("embedding", "lm_head"):
        value = torch.empty(size).normal_(std=0.02, generator=generator)
    elif kind == "in_proj":
        value = uniform(-1, 1) / math.sqrt(config.d_model)
    elif kind == "out_proj":
        value = uniform(-1, 1) / math.sqrt(size[1] * config.n_layer)
    elif kind == "conv1d" or own.endswith("conv1d.bias"):
        sizes: Any = config.layers[int(own.split(".")[1])]
        value = uniform(-1, 1) / math.sqrt(sizes.d_conv)
    elif kind == "A_log":
        value = uniform(1, 16).log()
    elif kind == "dt_bias":
        dt = uniform(math.log(1e-3), math.log(0.1)).exp().clamp(min=1e-4)
        value = dt + torch.log(-torch.expm1(-dt))  # softplus of it is dt
    else:
        value = torch.ones(size)  # norms and D
    return value.to(torch.bfloat16)


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
