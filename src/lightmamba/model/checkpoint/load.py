"""Load a published checkpoint, from folder or hub id, as float model, tokenizer and config."""

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from lightmamba.common.errors import InputError
from lightmamba.model.causal_lm import CausalLM
from lightmamba.model.checkpoint.chosen import FloatWeights, ModelWeights, StoredWeights
from lightmamba.model.checkpoint.files import (
    parse_tokenizer,
    read_chat_template,
    read_licence,
    read_optional_json,
    resolve_special_ids,
    sha256,
    tokenizer_size,
)
from lightmamba.model.checkpoint.hub import local_copy
from lightmamba.model.checkpoint.layouts import read_config
from lightmamba.model.checkpoint.tensors import find_weights
from lightmamba.model.config import ModelConfig

__all__ = ["Checkpoint", "OpenCheckpoint", "Source", "load_checkpoint", "open_checkpoint"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where a checkpoint came from."""

    name: str  # folder or hub id, as given
    revision: str | None  # commit on the hub; None for a folder
    licence: str | None  # of README.md's front matter or config.json
    hashes: dict[str, str]  # sha256 of config.json and of each weight file


@dataclass(frozen=True)
class _Extras:
    """Tokenizer, chat template, generation config and special ids of a checkpoint."""

    config: ModelConfig
    source: Source
    tokenizer: bytes | None  # tokenizer.json
    chat_template: str | None
    generation_config: dict[str, Any]
    special_ids: dict[str, int | list[int]]  # bos, eos (one or several), pad, where known
    valid_vocab: int  # ids from here on are padding

    def __post_init__(self) -> None:
        if not 0 < self.valid_vocab <= self.config.vocab_size:
            raise ValueError(
                f"valid_vocab must be in 1..{self.config.vocab_size}, not {self.valid_vocab}"
            )


@dataclass(frozen=True)
class Checkpoint(_Extras):
    """A float model with its tokenizer, generation config and special ids."""

    model: CausalLM

    @property
    def weights(self) -> FloatWeights:
        """Its weights, a layer at a time."""
        return ModelWeights(self.model)


@dataclass(frozen=True)
class OpenCheckpoint(_Extras):
    """A checkpoint whose weights are on disk, with its tokenizer and the like in memory."""

    weights: StoredWeights

    def load(self, dtype: torch.dtype = torch.float32) -> Checkpoint:
        """Checkpoint with the whole model in memory."""
        extras = {f.name: getattr(self, f.name) for f in fields(_Extras)}
        return Checkpoint(model=self.weights.whole(dtype), **extras)


def load_checkpoint(
    name: str | Path,
    *,
    revision: str | None = None,
    tokenizer: Path | None = None,
    dtype: torch.dtype = torch.float32,
) -> Checkpoint:
    """Load a checkpoint: Mamba2 in transformers' or mamba_ssm's layout, Granite-4.0-H, Nemotron-H.

    Weights in bf16, fp16 or fp32 are read tensor by tensor from ``model.safetensors`` or
    ``pytorch_model.bin``, single or sharded; nothing of a checkpoint is ever run as code.

    Parameters
    ----------
    name
        A folder, or an id on the Hugging Face hub like ``state-spaces/mamba2-130m``.
    revision
        Branch, tag or commit of a hub id; the resolved commit is kept in ``source``.
    tokenizer
        A tokenizer.json to use instead of the folder's own, or where it has none.
    dtype
        Floating-point type of the model's parameters.

    Raises
    ------
    InputError
        With one sentence, for everything that is wrong with the checkpoint or its name.
    """
    if not dtype.is_floating_point:
        raise InputError(f"dtype must be a floating-point type like torch.float32, not {dtype}")
    return open_checkpoint(name, revision=revision, tokenizer=tokenizer).load(dtype)


def open_checkpoint(
    name: str | Path, *, revision: str | None = None, tokenizer: Path | None = None
) -> OpenCheckpoint:
    """Read all of a checkpoint but its weights, which are found and hashed.

    Parameters and errors are those of :func:`load_checkpoint`; what is wrong with a value of a
    tensor shows when it is read.
    """
    local = local_copy(name, revision)
    folder = local.folder
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json; a checkpoint folder holds it and weights")
    written = read_config(folder / "config.json")
    published = written.published
    config = published.config
    tokenizer_path = Path(tokenizer or folder / "tokenizer.json")
    data, parsed = (
        parse_tokenizer(tokenizer_path, config.vocab_size)
        if tokenizer or tokenizer_path.is_file()
        else (None, None)
    )
    generation_config = read_optional_json(folder / "generation_config.json")
    tokenizer_config = read_optional_json(folder / "tokenizer_config.json")
    weights = find_weights(folder)
    log.info(
        "checkpoint %s from %s: %s, tokenizer %s", name, folder,
        ", ".join(path.name for path in weights.files), tokenizer_path if data else "none",
    )  # fmt: skip
    hashed = (folder / "config.json", *weights.files)
    return OpenCheckpoint(
        config=config,
        weights=StoredWeights(published, weights),
        source=Source(
            name=str(name),
            revision=local.revision,
            licence=read_licence(folder) or written.licence,
            hashes={path.name: sha256(path) for path in hashed},
        ),
        tokenizer=data,
        chat_template=read_chat_template(folder, tokenizer_config),
        generation_config=generation_config,
        special_ids=resolve_special_ids(
            written.special_ids, generation_config, tokenizer_config, parsed, config.vocab_size
        ),
        valid_vocab=tokenizer_size(parsed) if parsed else published.valid_vocab,
    )
